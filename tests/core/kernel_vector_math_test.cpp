#include "core/kernels/vector_math.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// The vectorised loop, as kernels use it.
std::vector<float> vector_exp_of(const std::vector<float>& x) {
  std::vector<float> y(x.size());
#pragma omp simd
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = vector_exp(x[i]);
  return y;
}

TEST(VectorExp, IsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> x;
  for (float value = -86.8f; value < 88.7f; value += 0.00137f) x.push_back(value);
  const std::vector<float> y = vector_exp_of(x);
  double worst = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double unit = std::ldexp(1.0, std::ilogb(exact) - 23);
    worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / unit);
  }
  EXPECT_LE(worst, 2.0);
}

TEST(VectorExp, IsRightAtTheEdges) {
  const std::vector<float> x{0.0f,   -0.0f,   -infinity, infinity, not_a_number, 88.72f,         88.73f, 1e30f, -1e30f,
                             -87.0f, -104.0f, 1e-30f,    -1e-30f,  -86.9f,       std::log(2.0f), 88.5f,  1.0f,  -1.0f};
  const std::vector<float> y = vector_exp_of(x);
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], infinity);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_NEAR(y[5] / std::exp(static_cast<double>(88.72f)), 1.0, 3e-7);  // the largest exponent, and past it
  EXPECT_EQ(y[6], infinity);
  EXPECT_EQ(y[7], infinity);
  EXPECT_EQ(y[8], 0.0f);
  EXPECT_EQ(y[9], 0.0f);  // no denormals
  EXPECT_EQ(y[10], 0.0f);
  EXPECT_EQ(y[11], 1.0f);
  EXPECT_EQ(y[12], 1.0f);
  EXPECT_GE(y[13], std::numeric_limits<float>::min());
  EXPECT_NEAR(y[14], 2.0f, 3e-7);
  EXPECT_NEAR(y[15] / std::exp(88.5), 1.0, 3e-7);
}

TEST(VectorExp, OfDoublesIsTheLibrarys) { EXPECT_EQ(vector_exp(1.25), std::exp(1.25)); }

TEST(Sigmoid, IsRightFromEndToEnd) {
  EXPECT_EQ(sigmoid(0.0f), 0.5f);
  EXPECT_EQ(sigmoid(infinity), 1.0f);
  EXPECT_EQ(sigmoid(-infinity), 0.0f);
  EXPECT_EQ(sigmoid(200.0f), 1.0f);
  EXPECT_EQ(sigmoid(-200.0f), 0.0f);
  EXPECT_TRUE(std::isnan(sigmoid(not_a_number)));
  for (double x = -30.0; x < 30.0; x += 0.37) {
    const double exact = 1.0 / (1.0 + std::exp(-x));
    EXPECT_NEAR(sigmoid(static_cast<float>(x)) / exact, 1.0, 2e-6) << x;
    EXPECT_NEAR(sigmoid(x) / exact, 1.0, 1e-15) << x;
  }
}

TEST(Silu, IsItsArgumentTimesSigmoid) {
  EXPECT_EQ(silu(0.0f), 0.0f);
  EXPECT_NEAR(silu(1.5), 1.5 / (1.0 + std::exp(-1.5)), 1e-15);
  EXPECT_EQ(silu(-200.0f), 0.0f);
  EXPECT_EQ(silu(200.0f), 200.0f);
}

}  // namespace
}  // namespace palimpsest
