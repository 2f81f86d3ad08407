// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011). A value is a pure function of (seed, purpose, step, lane, index), so
// no generator state has to be stored, shared between threads or handed to another rank.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace palimpsest {

/// What a random number is for; numbers of different purposes are independent.
enum class RandomPurpose : std::uint32_t {
  initialization = 1,
  shuffle = 2,
  sampling = 3,
  data = 4,
  test = 5,
  evaluation = 6,
  carried_memory = 7
};

/// The stream of one (seed, purpose, step, lane).
class Random {
 public:
  Random(std::uint64_t seed, RandomPurpose purpose, std::uint64_t step = 0, std::uint32_t lane = 0);

  /// Number `index` of the stream: 32 uniform bits.
  std::uint32_t bits(std::uint64_t index) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(std::uint64_t index) const;
  /// Standard normal (Box-Muller).
  double normal(std::uint64_t index) const;
  /// values[i] <- scale times a standard normal, four from each block of the stream, in float32 and many
  /// at once: to fill large tensors. Which thread fills what makes no difference.
  void fill_normal(std::span<float> values, float scale) const;
  /// Uniform integer in [0, bound), bound > 0, without modulo bias to within 2^-32.
  std::uint64_t below(std::uint64_t index, std::uint64_t bound) const;

 private:
  std::array<std::uint32_t, 4> block(std::uint64_t index) const;

  std::array<std::uint32_t, 4> stream_;  // key and upper counter of every block
};

}  // namespace palimpsest
