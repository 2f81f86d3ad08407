#include "core/kernels/rope.h"

#include <complex>
#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr double theta = 10000.0;

/// Pairs (i, i + d/2) as complex numbers, turned by position * theta^(-2 i / d).
std::vector<double> reference(const std::vector<double>& x, std::size_t rows, std::size_t d, double first_position) {
  std::vector<double> y(x.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < d / 2; ++i) {
      const double angle = (first_position + static_cast<double>(row)) /
                           std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(d));
      const std::complex<double> turned =
          std::complex<double>(x[row * d + i], x[row * d + i + d / 2]) * std::polar(1.0, angle);
      y[row * d + i] = turned.real();
      y[row * d + i + d / 2] = turned.imag();
    }
  }
  return y;
}

TEST(Rope, TurnsHalvesByPosition) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    for (const std::int64_t d : {2, 8, 64}) {
      const RotaryTable table(pool, 40, d, theta, accumulate_type(type));
      const Tensor x = testing::normal_tensor(pool, {9, d}, type, 1);
      Tensor y(pool, {9, d}, type);
      dispatch(type, [&]<class T>() { rotate(x.data<T>(), d, y.data<T>(), d, 9, 31, table, false); });
      testing::expect_close(y.to_doubles(), reference(x.to_doubles(), 9, static_cast<std::size_t>(d), 31.0),
                            testing::tolerance_of(type));
    }
  }
}

TEST(Rope, InverseTurnsBackAndMayWorkInPlace) {
  MemoryPool pool;
  const RotaryTable table(pool, 16, 8, theta, DataType::float64);
  Tensor x = testing::normal_tensor(pool, {16, 8}, DataType::float64, 1);
  const auto before = x.to_doubles();
  const auto in_place = [&](bool inverse) {
    rotate<double>(x.data<double>(), 8, x.data<double>(), 8, 16, 0, table, inverse);
  };
  in_place(false);
  EXPECT_GT(testing::relative_difference(x.to_doubles(), before), 0.1);
  in_place(true);
  testing::expect_close(x.to_doubles(), before, 1e-14);
}

TEST(Rope, TouchesOnlyItsHeadsSlice) {
  MemoryPool pool;
  const RotaryTable table(pool, 3, 4, theta, DataType::float32);
  // Rows of 10 elements; the head is elements 4 to 7.
  const Tensor x = testing::normal_tensor(pool, {3, 10}, DataType::float32, 1);
  Tensor y = Tensor::zeros(pool, {3, 6}, DataType::float32);
  rotate(x.data<float>() + 4, 10, y.data<float>() + 1, 6, 3, 0, table, false);
  const auto all = x.to_doubles(), result = y.to_doubles();
  std::vector<double> head, rotated;
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t i = 0; i < 4; ++i) {
      head.push_back(all[row * 10 + 4 + i]);
      rotated.push_back(result[row * 6 + 1 + i]);
    }
    EXPECT_EQ(result[row * 6], 0.0);
    EXPECT_EQ(result[row * 6 + 5], 0.0);
  }
  testing::expect_close(rotated, reference(head, 3, 4, 0.0), 1e-6);
}

TEST(Rope, ScoresDependOnDistanceOnly) {
  MemoryPool pool;
  const RotaryTable table(pool, 64, 8, theta, DataType::float64);
  const auto q = testing::normal_values(8, 1), k = testing::normal_values(8, 2);
  const auto score = [&](std::int64_t q_position, std::int64_t k_position) {
    double turned_q[8], turned_k[8], sum = 0.0;
    rotate(q.data(), 8, turned_q, 8, 1, q_position, table, false);
    rotate(k.data(), 8, turned_k, 8, 1, k_position, table, false);
    for (int i = 0; i < 8; ++i) sum += turned_q[i] * turned_k[i];
    return sum;
  };
  EXPECT_NEAR(score(7, 3), score(60, 56), 1e-12);
  EXPECT_GT(std::abs(score(7, 3) - score(7, 4)), 1e-3);
}

TEST(Rope, LinearScalingDividesPositions) {
  MemoryPool pool;
  const RotaryTable plain(pool, 8, 16, theta, DataType::float64);
  const RotaryTable scaled(pool, 29, 16, theta, DataType::float64, {.kind = RotaryScalingKind::linear, .factor = 4});
  for (std::int64_t position = 0; position < 8; ++position) {
    testing::expect_close(scaled.sine().rows(4 * position, 4 * position + 1).to_doubles(),
                          plain.sine().rows(position, position + 1).to_doubles(), 1e-12);
  }
}

TEST(Rope, Llama3ScalingIsThatOfWavelengths) {
  MemoryPool pool;
  // Llama 3.1's own numbers, and a pair of factors between which most frequencies lie.
  for (const auto& [low, high] : {std::pair(1.0, 4.0), std::pair(0.25, 1000.0)}) {
    const RotaryScaling scaling = {.kind = RotaryScalingKind::llama3,
                                   .factor = 8,
                                   .low_frequency_factor = low,
                                   .high_frequency_factor = high,
                                   .original_length = 8192};
    const RotaryTable table(pool, 2, 128, 500000.0, DataType::float64, scaling);
    int kept = 0, between = 0, divided = 0;
    for (int i = 0; i < 64; ++i) {
      // As Hugging Face's modeling_rope_utils.py puts it.
      const double frequency = 1.0 / std::pow(500000.0, 2.0 * i / 128.0), wavelength = 2 * M_PI / frequency;
      double expected = frequency;
      if (wavelength > 8192 / low) {
        expected = frequency / 8;
        ++divided;
      } else if (wavelength < 8192 / high) {
        ++kept;
      } else {
        const double smooth = (8192 / wavelength - low) / (high - low);
        expected = (1 - smooth) * frequency / 8 + smooth * frequency;
        ++between;
      }
      EXPECT_NEAR(table.sine().to_doubles()[static_cast<std::size_t>(64 + i)], std::sin(expected), 1e-15) << i;
    }
    EXPECT_GT(kept, 0);
    EXPECT_GT(between, 4);
    EXPECT_GT(divided, 10);
  }
}

TEST(Rope, RefusesWhatTheTableLacks) {
  MemoryPool pool;
  EXPECT_THROW(RotaryTable(pool, 4, 7, theta, DataType::float32), ShapeError);
  const RotaryTable table(pool, 4, 8, theta, DataType::float32);
  EXPECT_EQ(table.positions(), 4);
  EXPECT_EQ(table.head_size(), 8);
  std::vector<float> x(5 * 8);
  EXPECT_NO_THROW(rotate<float>(x.data(), 8, x.data(), 8, 4, 0, table, false));
  EXPECT_THROW(rotate<float>(x.data(), 8, x.data(), 8, 5, 0, table, false), ShapeError);
  EXPECT_THROW(rotate<float>(x.data(), 8, x.data(), 8, 1, 4, table, false), ShapeError);
  EXPECT_THROW(rotate<float>(x.data(), 8, x.data(), 8, 1, -1, table, false), ShapeError);
  std::vector<double> wide(8);
  EXPECT_THROW(rotate<double>(wide.data(), 8, wide.data(), 8, 1, 0, table, false), ShapeError);
}

}  // namespace
}  // namespace palimpsest
