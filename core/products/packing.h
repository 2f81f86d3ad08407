// Laying out operands for the micro-kernel. Packed right operands are panels of `width` columns:
// (inner / group, width, group), inner extents that are no multiple of the group filled up with zeros.
#pragma once

#include <algorithm>

#include "core/products/vectors.h"

namespace palimpsest::products {

/// Interleaves `columns` columns of a row-major matrix of `inner` rows by groups of rows into
/// (inner / group, width, group), columns beyond `columns` zero. `target_stride`: elements from unit to unit.
template <class T>
void pack_rows(const T* source, std::int64_t stride, std::int64_t inner, std::int64_t columns, std::int64_t width,
               T* target, std::int64_t target_stride) {
  for (std::int64_t p = 0; p < inner; p += group<T>, target += target_stride) {
    const T* const first = source + p * stride;
    if constexpr (group<T> == 1) {
      std::copy_n(first, columns, target);
    } else if (p + 1 < inner) {
      const T* const second = first + stride;
#pragma omp simd
      for (std::int64_t j = 0; j < columns; ++j) {
        const std::uint32_t pair = first[j].bits | static_cast<std::uint32_t>(second[j].bits) << 16;
        store(target + 2 * j, pair);
      }
    } else {
      for (std::int64_t j = 0; j < columns; ++j) store(target + 2 * j, std::uint32_t{first[j].bits});
    }
    std::fill(target + columns * group<T>, target + width * group<T>, T(0));
  }
}

/// The same from a matrix that lies transposed: row j of `source`, `inner` elements, becomes column j.
template <class T>
void pack_transposed(const T* source, std::int64_t stride, std::int64_t inner, std::int64_t columns, std::int64_t width,
                     T* target, std::int64_t target_stride) {
  constexpr std::int64_t n = vector_lanes<T>, square = n * group<T>;
  const std::int64_t whole_columns = columns / n * n, whole = inner / square * square;
  for (std::int64_t j = 0; j < whole_columns; j += n) {
    for (std::int64_t p = 0; p < whole; p += square) {
      transpose_square<Unit<T>>(source + j * stride + p, stride * static_cast<std::int64_t>(sizeof(T)),
                                target + p / group<T> * target_stride + j * group<T>,
                                target_stride * static_cast<std::int64_t>(sizeof(T)));
    }
  }
  for (std::int64_t p = 0; p < round_up(inner, group<T>); ++p) {
    T* const unit = target + p / group<T> * target_stride + p % group<T>;
    for (std::int64_t j = p < whole ? whole_columns : 0; j < columns; ++j) {
      unit[j * group<T>] = p < inner ? source[j * stride + p] : T(0);
    }
    for (std::int64_t j = columns; j < width; ++j) unit[j * group<T>] = T(0);
  }
}

}  // namespace palimpsest::products
