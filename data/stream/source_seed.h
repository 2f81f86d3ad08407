// Random numbers of the sources of a mixture.
#pragma once

#include <cstddef>
#include <cstdint>

namespace palimpsest {

/// A seed of its own for each source: the run's for the first one, far from it and from each other for the rest.
constexpr std::uint64_t source_seed(std::uint64_t seed, std::size_t source) {
  return seed + std::uint64_t{0x9E3779B97F4A7C15} * source;  // 2^64 over the golden ratio
}

}  // namespace palimpsest
