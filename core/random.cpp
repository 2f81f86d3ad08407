#include "core/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/philox.h"

namespace palimpsest {

namespace {

/// Blocks of the stream that are worked on together, in vectors.
constexpr std::int64_t lanes = 16;

/// Natural logarithm of x in (0, 1], to about 1e-7 relative: the exponent, and the series of
/// log((1 + t) / (1 - t)) for a mantissa in [1 / sqrt 2, sqrt 2).
float vector_log(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const float mantissa = std::bit_cast<float>(bits - exponent * (1 << 23));
  const float t = (mantissa - 1.0f) / (mantissa + 1.0f), square = t * t;
  const float series = 2.0f + square * (2.0f / 3 + square * (2.0f / 5 + square * (2.0f / 7 + square * (2.0f / 9))));
  return static_cast<float>(exponent) * std::numbers::ln2_v<float> + t * series;
}

/// sin(pi x) of x in [-1/2, 1/2], to about 1e-7.
float sine_of_half_turns(float x) {
  constexpr float pi = std::numbers::pi_v<float>;
  const float y = pi * x, square = y * y;
  return y *
         (1.0f + square * (-1.0f / 6 +
                           square * (1.0f / 120 +
                                     square * (-1.0f / 5040 + square * (1.0f / 362880 - square * (1.0f / 39916800))))));
}

/// A Box-Muller pair from two uniform words.
std::pair<float, float> normal_pair(std::uint32_t radius_word, std::uint32_t angle_word) {
  const float u = (static_cast<float>(radius_word >> 8) + 0.5f) * 0x1p-24f;
  const float radius = std::sqrt(-2.0f * vector_log(u));
  // The angle is a sign and the rest, in half turns: sine from x in [-1/2, 1/2), cosine from 1/2 - |x|.
  const float x = static_cast<float>(static_cast<std::int32_t>(angle_word << 1) >> 8) * 0x1p-24f;
  const float sign = angle_word >> 31 ? -radius : radius;
  const float magnitude = x < 0 ? -x : x;
  return {radius * sine_of_half_turns(x), sign * sine_of_half_turns(0.5f - magnitude)};
}

}  // namespace

// The first pass mixes the stream's name into the key, the second counts through the stream, so
// 64-bit steps and 64-bit indices need not share one 128-bit counter.
Random::Random(std::uint64_t seed, RandomPurpose purpose, std::uint64_t step, std::uint32_t lane)
    : stream_(philox4x32({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32),
                          static_cast<std::uint32_t>(purpose), lane},
                         {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)})) {}

std::array<std::uint32_t, 4> Random::block(std::uint64_t index) const {
  return philox4x32(
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), stream_[2], stream_[3]},
      {stream_[0], stream_[1]});
}

void Random::fill_normal(std::span<float> values, float scale) const {
  const auto count = static_cast<std::int64_t>(values.size());
  constexpr std::int64_t group = 4 * lanes;
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += group) {
    float normals[4][lanes];
#pragma omp simd
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const auto words = block(static_cast<std::uint64_t>(begin / 4 + lane));
      const auto [a, b] = normal_pair(words[0], words[1]);
      const auto [c, d] = normal_pair(words[2], words[3]);
      normals[0][lane] = a;
      normals[1][lane] = b;
      normals[2][lane] = c;
      normals[3][lane] = d;
    }
    const std::int64_t end = std::min(count, begin + group);
    for (std::int64_t i = begin; i < end; ++i) {
      values[static_cast<std::size_t>(i)] = scale * normals[(i - begin) / lanes][(i - begin) % lanes];
    }
  }
}

std::uint32_t Random::bits(std::uint64_t index) const { return block(index)[0]; }

double Random::uniform(std::uint64_t index) const {
  const auto words = block(index);
  const std::uint64_t joined = (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
  return static_cast<double>(joined >> 11) * 0x1.0p-53;
}

double Random::normal(std::uint64_t index) const {
  const auto words = block(index);
  const double u = (static_cast<double>(words[0]) + 0.5) * 0x1.0p-32;
  const double v = static_cast<double>(words[1]) * 0x1.0p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint64_t Random::below(std::uint64_t index, std::uint64_t bound) const {
  const auto words = block(index);
  const std::uint64_t joined = (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(joined) * bound) >> 64);
}

}  // namespace palimpsest
