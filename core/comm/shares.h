// How a buffer is shared out over ranks.
#pragma once

#include <algorithm>
#include <cstddef>

namespace palimpsest {

/// Elements [begin, end) of a buffer.
struct Share {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t size() const { return end - begin; }
};

/// The share of `rank` in `count` elements: consecutive in rank order, of equal length up to the last ones,
/// which are shorter or empty. Shares begin at multiples of 16 elements (a cache line of float).
inline Share share_of(std::size_t count, int rank, int size) {
  constexpr std::size_t line = 16;
  const auto ranks = static_cast<std::size_t>(size);
  const std::size_t length = ((count + ranks - 1) / ranks + line - 1) / line * line;
  const std::size_t begin = std::min(count, length * static_cast<std::size_t>(rank));
  return {begin, std::min(count, begin + length)};
}

}  // namespace palimpsest
