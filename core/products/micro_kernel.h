// The MR x NR micro-kernel of every matrix product: a tile of sums that stays in registers while the inner dimension
// passes by. One vector of the right operand is multiplied with one value of each row of the left one.
#pragma once

#include "core/products/vectors.h"

namespace palimpsest::products {

/// How the left operand lies: its inner dimension side by side in a row, `stride` elements to the next row;
/// or the units of its rows side by side, `stride` elements to the next unit of the inner dimension. The one
/// is a row-major matrix, the other a transposed one, its rows interleaved by pairs for bfloat16.
enum class LeftLayout { rows, interleaved };

/// sums[i][j] <- sum over `units` units of left (row i) times right (vector j).
/// right: vector j of unit p stands at right + p * right_stride + j * vector_lanes * group.
template <class T, LeftLayout layout, int rows, int vectors>
[[gnu::always_inline]] inline void multiply(const T* left, std::int64_t left_stride, const T* right,
                                            std::int64_t right_stride, std::int64_t units,
                                            Vector<accumulate_t<T>> (&sums)[rows][vectors]) {
  // Three rows to a pointer: x86 adds one or two strides to an address for nothing.
  constexpr int bases = (rows + 2) / 3;
  constexpr std::int64_t step = group<T>;
  const T* row[bases];
#pragma GCC unroll 4
  for (int i = 0; i < bases; ++i) row[i] = left + 3 * i * left_stride;
  Vector<accumulate_t<T>> running[rows][vectors];  // of its own, so that nothing keeps it out of registers
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) running[i][j] = Vector<accumulate_t<T>>{};
  }
  for (std::int64_t p = 0; p < units; ++p) {
    Vector<Unit<T>> b[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) b[j] = load<Vector<Unit<T>>>(right + j * vector_lanes<T> * step);
    right += right_stride;
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
      const auto a = load<Unit<T>>(layout == LeftLayout::rows ? row[i / 3] + i % 3 * left_stride : left + i * step);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) multiply_add(running[i][j], a, b[j]);
    }
    if constexpr (layout == LeftLayout::rows) {
#pragma GCC unroll 4
      for (int i = 0; i < bases; ++i) {
        row[i] += step;
        asm("" : "+r"(row[i]));  // else the compiler computes twelve offsets, more than there are registers
      }
    } else {
      left += left_stride;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sums[i][j] = running[i][j];
  }
}

}  // namespace palimpsest::products
