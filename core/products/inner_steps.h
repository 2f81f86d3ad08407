// A product in steps of its inner dimension, whose sums gather in the result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/matrix.h"

namespace palimpsest::products {

/// `inner` columns from `begin` on.
inline ConstMatrix columns_of(ConstMatrix a, std::int64_t begin, std::int64_t inner) {
  a.data = static_cast<const std::byte*>(a.data) + static_cast<std::size_t>(begin * a.column_stride) * size_of(a.type);
  a.columns = inner;
  return a;
}

/// Calls step(columns of a, rows of b, whether they are the first) for `at_once` of the inner dimension after the
/// other.
template <class Step>
void for_inner_steps(const ConstMatrix& a, const ConstMatrix& b, std::int64_t at_once, Step step) {
  for (std::int64_t begin = 0; begin < b.rows; begin += at_once) {
    const std::int64_t inner = std::min(at_once, b.rows - begin);
    step(columns_of(a, begin, inner), columns_of(b.transposed(), begin, inner).transposed(), begin == 0);
  }
}

}  // namespace palimpsest::products
