// Intel's matrix units (AMX): tile registers of 16 rows of 64 bytes, whose products of bfloat16 are summed in float32.
//
// float32 goes through them in pieces: x = h + m + l with h, m and l bfloat16, 8 bits of the mantissa each, is exact,
// so x y is the sum of nine products of bfloat16. m l, l m and l l are less than 2^-25 of it, below what a float32
// product rounds away, and are left out; the other six are summed, the small ones first (Henry, Tang and Heinecke
// 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations"). Where x is
// larger than 3.38e38 or not finite, sums are not finite; below 1e-30 pieces underflow and bits are lost.
#pragma once

#include <cstdint>

#include "core/data_type.h"

namespace palimpsest::products {

/// How many bfloat16 stand for an element of an operand.
template <class T>
inline constexpr int pieces = 1;
template <>
inline constexpr int pieces<float> = 3;

/// Extents of the sums that are computed at a time (two by two tiles), and of a step of the inner dimension.
inline constexpr std::int64_t unit_rows = 32, unit_columns = 32, unit_inner = 32;

/// Whether the build's target has matrix units and the system lets this process use them, which it is asked once.
bool has_matrix_units();

#ifdef __AMX_BF16__

/// Sets the calling thread's tile registers up while it lives.
class TileRegisters {
 public:
  TileRegisters();
  ~TileRegisters();
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

/// sums (unit_rows, unit_columns) <- [sums +] unit_rows rows of the left operand times a panel of unit_columns columns
/// of the right one, `steps` steps of the inner dimension, both packed:
///   left   rows, `left_stride` elements apart, each (steps, pieces<T>, unit_inner)
///   right  (steps, pieces<T>, unit_inner / 2, unit_columns, 2)
/// Needs TileRegisters.
template <class T>
void multiply_units(const bfloat16* left, std::int64_t left_stride, const bfloat16* right, std::int64_t steps,
                    float* sums, bool accumulate);

#endif

}  // namespace palimpsest::products
