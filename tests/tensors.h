// What the tests of kernels and operators share: reproducible values and comparisons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "core/tensor.h"

namespace palimpsest::testing {

/// Normal values scaled by `scale`, the same for the same seed.
inline std::vector<double> normal_values(std::int64_t count, std::uint64_t seed, double scale = 1.0) {
  const Random random(seed, RandomPurpose::test);
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * random.normal(i);
  return values;
}

inline Tensor normal_tensor(MemoryPool& pool, Shape shape, DataType type, std::uint64_t seed, double scale = 1.0) {
  return Tensor::from_values(pool, shape, type, normal_values(shape.elements(), seed, scale));
}

/// Largest difference relative to the largest expected entry; infinite on a NaN or another length.
inline double relative_difference(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double largest = 0.0, difference = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double one = std::abs(actual[i] - expected[i]);
    if (std::isnan(one)) return INFINITY;
    difference = std::max(difference, one);
  }
  return difference == 0.0 ? 0.0 : difference / (largest == 0.0 ? 1.0 : largest);
}

inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  EXPECT_LE(relative_difference(actual, expected), tolerance);
}

/// What rounding allows after a short sum in the type.
inline double tolerance_of(DataType type) {
  return type == DataType::float64 ? 1e-13 : type == DataType::float32 ? 3e-6 : 2e-2;
}

inline constexpr DataType all_types[] = {DataType::float32, DataType::bfloat16, DataType::float64};

}  // namespace palimpsest::testing
