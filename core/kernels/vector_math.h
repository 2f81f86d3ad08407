// Elementary functions that the compiler can vectorise inside loops.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace palimpsest {

/// e^x to about 1 ulp. Results below 1.7e-38 are zero, so that no denormal slows a loop down;
/// -inf gives 0, overflow inf, NaN NaN. Reduces x = n ln 2 + r, |r| <= ln(2) / 2, and sums the
/// Taylor series of e^r.
inline float vector_exp(float x) {
  constexpr float lowest = -86.9f, highest = 89.0f;
  constexpr float log2_e = 1.44269504f;
  constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // n * ln2_high is exact
  constexpr float round_shift = 0x1.8p23f;  // adding it rounds to an integer, left in the low bits
  const float above = x < lowest ? lowest : x;
  const float clamped = above > highest ? highest : above;
  const float shifted = clamped * log2_e + round_shift;
  const float n = shifted - round_shift;
  const float r = (clamped - n * ln2_high) - n * ln2_low;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  // 2 * 2^(n - 1), since 2^128 is no float
  const float scale = std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 126u) << 23);
  const float result = 2.0f * series * scale;
  return x < lowest ? 0.0f : result;
}

inline double vector_exp(double x) { return std::exp(x); }

/// The largest value, -inf of none. Side by side, which the compiler turns into vectors; a plain maximum it
/// computes one by one. NaNs are passed over.
template <class A>
inline A largest(const A* values, std::int64_t count) {
  constexpr std::int64_t width = 32;
  A highest[width];
  std::fill(highest, highest + width, -std::numeric_limits<A>::infinity());
  std::int64_t j = 0;
  for (; j + width <= count; j += width) {
    for (std::int64_t i = 0; i < width; ++i) highest[i] = values[j + i] > highest[i] ? values[j + i] : highest[i];
  }
  for (; j < count; ++j) highest[0] = std::max(highest[0], values[j]);
  return *std::max_element(highest, highest + width);
}

template <class A>
inline A sigmoid(A x) {
  return A{1} / (A{1} + vector_exp(-x));
}

/// x sigmoid(x)
template <class A>
inline A silu(A x) {
  return x * sigmoid(x);
}

}  // namespace palimpsest
