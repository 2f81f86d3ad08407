#include "core/kernels/vector_loops.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

using vector_loops::for_each_vector;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// function of every element of x, computed as for elements of T.
template <class T, class Function>
std::vector<float> each(const std::vector<float>& x, Function function) {
  std::vector<float> y(x.size());
  for_each_vector<float>(static_cast<std::int64_t>(x.size()), [&](std::int64_t j, auto elements) {
    elements.store(y.data() + j, function(elements.load(x.data() + j)));
  });
  return y;
}

std::vector<float> range(float first, float last, float step) {
  std::vector<float> values;
  for (float value = first; value < last; value += step) values.push_back(value);
  return values;
}

TEST(VectorLoops, ExponentialOfBfloat16IsWithinThreeMillionths) {
  const std::vector<float> x = range(-87.3f, 87.9f, 0.00137f);
  const auto y = each<bfloat16>(x, [](auto v) { return vector_loops::exponential<bfloat16>(v); });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    // The product with log2(e) is rounded to a float: that of 126 by up to 2^-18.
    ASSERT_NEAR(y[i] / exact, 1.0, 3e-6 + std::abs(x[i]) * 1.5e-7) << x[i];
  }
}

TEST(VectorLoops, ExponentialOfBfloat16IsRightAtTheEdges) {
  const std::vector<float> x{-infinity, -1e30f, -88.0f, 1e30f, infinity, std::nanf(""), 0.0f, -0.0f};
  const auto y = each<bfloat16>(x, [](auto v) { return vector_loops::exponential<bfloat16>(v); });
  EXPECT_EQ(y[0], 0.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_GT(y[3], 1e38f);
  EXPECT_GT(y[4], 1e38f);
  EXPECT_TRUE(std::isnan(y[5]));
  EXPECT_NEAR(y[6], 1.0f, 3e-6f);
  EXPECT_EQ(y[6], y[7]);
}

TEST(VectorLoops, ExponentialOfFloatIsVectorExp) {
  const std::vector<float> x = range(-90.0f, 90.0f, 0.37f);
  const auto y = each<float>(x, [](auto v) { return vector_loops::exponential<float>(v); });
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], vector_exp(x[i])) << x[i];
}

TEST(VectorLoops, SigmoidOfBfloat16IsFarMoreExactThanItsElements) {
  const std::vector<float> x = range(-80.0f, 80.0f, 0.0137f);
  const auto y = each<bfloat16>(x, [](auto v) { return vector_loops::sigmoid<bfloat16>(v); });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = 1.0 / (1.0 + std::exp(-static_cast<double>(x[i])));
    ASSERT_NEAR(y[i] / exact, 1.0, 0x1p-13) << x[i];  // elements keep 2^-9
  }
  const auto ends =
      each<bfloat16>({-infinity, infinity, std::nanf("")}, [](auto v) { return vector_loops::sigmoid<bfloat16>(v); });
  EXPECT_NEAR(ends[0], 0.0f, 1e-37f);
  EXPECT_NEAR(ends[1], 1.0f, 0x1p-13f);
  EXPECT_TRUE(std::isnan(ends[2]));
}

TEST(VectorLoops, SigmaIsEluPlusOne) {
  const std::vector<float> x = range(-20.0f, 20.0f, 0.0171f);
  const auto narrow = each<bfloat16>(x, [](auto v) { return vector_loops::sigma<bfloat16>(v); });
  const auto wide = each<float>(x, [](auto v) { return vector_loops::sigma<float>(v); });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = x[i] > 0 ? 1.0 + static_cast<double>(x[i]) : std::exp(static_cast<double>(x[i]));
    EXPECT_NEAR(narrow[i] / exact, 1.0, 6e-6) << x[i];
    EXPECT_NEAR(wide[i] / exact, 1.0, 3e-7) << x[i];
  }
}

/// Rows that are no whole number of vectors: every element once, nothing behind them.
template <class T>
void takes_every_element_once() {
  for (std::int64_t count : {0, 1, 3, 15, 16, 17, 31, 33}) {
    std::vector<T> source, target(static_cast<std::size_t>(count) + 1, T(-7.0f));
    for (std::int64_t i = 0; i < count; ++i) source.push_back(T(static_cast<float>(i)));
    accumulate_t<T> sum = 0;
    for_each_vector<T>(count, [&](std::int64_t j, auto elements) {
      const auto values = elements.load(source.data() + j);
      sum += vector_loops::sum_of<T>(values);
      elements.store(target.data() + j, values + 1);
    });
    EXPECT_EQ(sum, static_cast<accumulate_t<T>>(count * (count - 1) / 2));
    for (std::int64_t i = 0; i < count; ++i) {
      EXPECT_EQ(static_cast<double>(target[static_cast<std::size_t>(i)]), static_cast<double>(i + 1));
    }
    EXPECT_EQ(static_cast<double>(target.back()), -7.0);
  }
}

TEST(VectorLoops, TakeEveryElementOnce) {
  takes_every_element_once<float>();
  takes_every_element_once<double>();
  takes_every_element_once<bfloat16>();
}

}  // namespace
}  // namespace palimpsest
