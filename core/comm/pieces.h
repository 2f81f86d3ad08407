// MPI counts in int: longer buffers travel in pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace palimpsest {

/// Calls `function` with consecutive parts of `values`, each of at most `limit` > 0 elements; once,
/// with nothing, when there are none.
template <class T, class Function>
void for_each_piece(std::span<T> values, std::size_t limit, Function&& function) {
  do {
    const std::size_t count = std::min(values.size(), limit);
    function(values.first(count));
    values = values.subspan(count);
  } while (!values.empty());
}

}  // namespace palimpsest
