// Laying out operands for the matrix units (core/products/matrix_units.h), in pieces, what fills up the last step and
// the last rows and columns being zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/products/matrix_units.h"
#include "core/products/vectors.h"

#ifdef __AMX_BF16__

#include <immintrin.h>

namespace palimpsest::products {

inline constexpr std::int64_t unit_lanes = 16;  // elements taken in at a time

inline __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<std::int64_t>(count, 0, unit_lanes)) - 1);
}

inline constexpr std::int64_t rows_ahead = 8;  // at which operands that lie apart are asked for

/// The bits of sixteen bfloat16.
using Sixteen __attribute__((vector_size(32))) = std::uint16_t;

inline Vector<std::uint32_t> widened(Sixteen bits) {
  return reinterpret_cast<Vector<std::uint32_t>>(_mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(bits)));
}

/// Brings a line of an operand that is far from the last one, so that no hardware foresees it, into the first cache.
template <class T>
inline void prefetch(const T* source) {
  _mm_prefetch(reinterpret_cast<const char*>(source), _MM_HINT_T0);
}

/// sixteen[piece] <- the pieces of the first `count` elements at `source`, of 16 at least where they are `whole`, else
/// zeros behind them.
template <bool whole>
inline void load_pieces(const bfloat16* source, std::int64_t count, Sixteen (&sixteen)[1]) {
  if constexpr (whole) {
    sixteen[0] = load<Sixteen>(source);
  } else {
    sixteen[0] = reinterpret_cast<Sixteen>(_mm256_maskz_loadu_epi16(first_lanes(count), source));
  }
}
template <bool whole>
inline void load_pieces(const float* source, std::int64_t count, Sixteen (&sixteen)[3]) {
  Vector<float> rest;
  if constexpr (whole) {
    rest = load<Vector<float>>(source);
  } else {
    rest = reinterpret_cast<Vector<float>>(_mm512_maskz_loadu_ps(first_lanes(count), source));
  }
  for (Sixteen& piece : sixteen) {
    piece = reinterpret_cast<Sixteen>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(rest)));
    rest -= reinterpret_cast<Vector<float>>(widened(piece) << 16);
  }
}

/// Pairs of bfloat16, the even one in front.
inline Vector<std::uint32_t> interleaved(Sixteen even, Sixteen odd) { return widened(even) | widened(odd) << 16; }

/// Elements of a row, or a column, after packing.
template <class T>
std::int64_t packed_length(std::int64_t inner) {
  return pieces<T> * round_up(inner, unit_inner);
}

/// Calls pack(std::true_type) for a step that is `whole`, else pack(std::false_type): masks cost more than the copy.
template <class Pack>
inline void pack_step(bool whole, Pack pack) {
  if (whole) {
    pack(std::true_type());
  } else {
    pack(std::false_type());
  }
}

/// target (unit_rows-multiple, steps, pieces, unit_inner) <- source (rows, inner).
template <class T>
void pack_unit_rows(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t inner, bfloat16* target) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < inner; k += unit_inner, target += pieces<T> * unit_inner) {
      const T* const ahead = source + (i + rows_ahead) * stride + k;
      prefetch(ahead);
      if constexpr (sizeof(T) == 4) prefetch(ahead + unit_lanes);
      pack_step(k + unit_inner <= inner, [&](auto whole) {
#pragma GCC unroll 2
        for (std::int64_t half = 0; half < unit_inner; half += unit_lanes) {
          Sixteen sixteen[pieces<T>];
          load_pieces<whole>(source + i * stride + k + half, inner - k - half, sixteen);
          for (int p = 0; p < pieces<T>; ++p) store(target + p * unit_inner + half, sixteen[p]);
        }
      });
    }
  }
  std::fill_n(target, (round_up(rows, unit_rows) - rows) * packed_length<T>(inner), bfloat16(0));
}

/// The same from a matrix that lies transposed, source (inner, rows).
template <class T>
void pack_unit_rows_transposed(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t inner,
                               bfloat16* target) {
  const std::int64_t target_stride = packed_length<T>(inner);
  for (std::int64_t k = 0; k < inner; k += unit_inner) {
    for (std::int64_t i = 0; i < round_up(rows, unit_rows); i += unit_lanes) {
      Vector<std::uint32_t> square[pieces<T>][unit_lanes];  // (pairs of the inner dimension, rows)
      pack_step(k + unit_inner <= inner && i + unit_lanes <= rows, [&](auto whole) {
        const T* from = source + k * stride + i;
#pragma GCC unroll 1
        for (std::int64_t pair = 0; pair < unit_lanes; ++pair, from += 2 * stride) {
          Sixteen even[pieces<T>], odd[pieces<T>];
          const std::int64_t row = k + 2 * pair;
          load_pieces<whole>(from, row < inner ? rows - i : 0, even);
          load_pieces<whole>(from + stride, row + 1 < inner ? rows - i : 0, odd);
          prefetch(from + unit_inner * stride);
          prefetch(from + (unit_inner + 1) * stride);
          for (int p = 0; p < pieces<T>; ++p) square[p][pair] = interleaved(even[p], odd[p]);
        }
      });
      for (int p = 0; p < pieces<T>; ++p) {
        transpose_square<std::uint32_t>(square[p], vector_bytes,
                                        target + i * target_stride + k * pieces<T> + p * unit_inner, target_stride * 2);
      }
    }
  }
}

/// target (steps, pieces, unit_inner / 2, unit_columns, 2) <- source (inner, columns).
template <class T>
void pack_unit_panel(const T* source, std::int64_t stride, std::int64_t inner, std::int64_t columns, bfloat16* target) {
  constexpr std::int64_t piece = unit_inner * unit_columns;
  for (std::int64_t k = 0; k < inner; k += unit_inner, target += pieces<T> * piece) {
    pack_step(k + unit_inner <= inner && columns >= unit_columns, [&](auto whole) {
      const T* row_at = source + k * stride;
#pragma GCC unroll 1
      for (std::int64_t row = 0; row < unit_inner; row += 2, row_at += 2 * stride) {
        prefetch(row_at + unit_inner * stride);
        prefetch(row_at + (unit_inner + 1) * stride);
#pragma GCC unroll 2
        for (std::int64_t j = 0; j < unit_columns; j += unit_lanes) {
          Sixteen even[pieces<T>], odd[pieces<T>];
          const T* const from = row_at + j;
          load_pieces<whole>(from, k + row < inner ? columns - j : 0, even);
          load_pieces<whole>(from + stride, k + row + 1 < inner ? columns - j : 0, odd);
          for (int p = 0; p < pieces<T>; ++p) {
            store(target + p * piece + row * unit_columns + 2 * j, interleaved(even[p], odd[p]));
          }
        }
      }
    });
  }
}

/// The same from a matrix that lies transposed, source (columns, inner).
template <class T>
void pack_unit_panel_transposed(const T* source, std::int64_t stride, std::int64_t inner, std::int64_t columns,
                                bfloat16* target) {
  constexpr std::int64_t piece = unit_inner * unit_columns;
  for (std::int64_t k = 0; k < inner; k += unit_inner, target += pieces<T> * piece) {
    for (std::int64_t j = 0; j < unit_columns; j += unit_lanes) {
      const T* const from = source + j * stride + k;
      const bool all = k + unit_inner <= inner && j + unit_lanes <= columns;
      if constexpr (pieces<T> == 1) {
        if (all) {  // as they lie
          transpose_square<std::uint32_t>(from, stride * 2, target + 2 * j, unit_columns * 4);
          continue;
        }
      }
      Sixteen square[pieces<T>][unit_lanes][2];  // (columns, pairs of the inner dimension)
      pack_step(all, [&](auto whole) {
        for (std::int64_t column = 0; column < unit_lanes; ++column) {
          for (std::int64_t half = 0; half < 2; ++half) {
            Sixteen sixteen[pieces<T>];
            const std::int64_t row = half * unit_lanes, left = j + column < columns ? inner - k - row : 0;
            load_pieces<whole>(from + column * stride + row, left, sixteen);
            for (int p = 0; p < pieces<T>; ++p) square[p][column][half] = sixteen[p];
          }
        }
      });
      for (int p = 0; p < pieces<T>; ++p) {
        transpose_square<std::uint32_t>(square[p], vector_bytes, target + p * piece + 2 * j, unit_columns * 4);
      }
    }
  }
}

}  // namespace palimpsest::products

#endif
