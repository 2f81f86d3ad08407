#include "core/random.h"

#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace palimpsest {

Random::Random(std::uint64_t seed, RandomPurpose purpose, std::uint64_t step, std::uint32_t lane)
    : seed_(seed), purpose_and_lane_{static_cast<std::uint32_t>(purpose), lane}, step_(step) {}

std::array<std::uint32_t, 4> Random::block(std::uint64_t index) const {
  // The first pass mixes the stream's name into the key, the second counts through the stream, so
  // 64-bit steps and 64-bit indices need not share one 128-bit counter.
  const auto stream = philox4x32({static_cast<std::uint32_t>(step_), static_cast<std::uint32_t>(step_ >> 32),
                                  purpose_and_lane_[0], purpose_and_lane_[1]},
                                 {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
  return philox4x32({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), stream[2], stream[3]},
                    {stream[0], stream[1]});
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
