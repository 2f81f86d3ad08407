// The next multiple: of a cache line, a vector, a tile.
#pragma once

#include <concepts>
#include <type_traits>

namespace palimpsest {

/// The least multiple of `multiple` that is not below `value`; neither is negative, `multiple` not zero.
template <std::integral Integer>
constexpr Integer round_up(Integer value, std::type_identity_t<Integer> multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace palimpsest
