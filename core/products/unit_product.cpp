// The matrix units' kernel of the loop nest in core/products/blocked.h. A block's rows of a chunk are for the
// second-level cache, unit_rows of them for the first-level cache, against each panel of the right operand.
#include "core/products/unit_product.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "core/products/blocked.h"
#include "core/products/matrix_units.h"
#include "core/products/unit_packing.h"

namespace palimpsest::products {

#ifndef __AMX_BF16__

bool units_suit(const ConstMatrix&, const ConstMatrix&, int) { return false; }
void unit_product(MemoryPool&, const ConstMatrix&, const ConstMatrix&, const Matrix&, Output, int) { std::abort(); }
std::int64_t unit_product_bytes(const ConstMatrix&, const ConstMatrix&, const Matrix&, int) { return 0; }

#else

namespace {

constexpr std::int64_t in_place_stride = 1024;  // bytes; rows farther apart meet in the same sets of a cache
constexpr std::int64_t rows_per_thread = 24;    // fewer are left to oneDNN
constexpr std::int64_t least_inner = 16;
constexpr std::int64_t unit_size = unit_rows * unit_columns;

/// target <- [target +] `rows` by `columns` of a unit's sums.
template <class Target>
void finish_unit(const float* sums, std::int64_t rows, std::int64_t columns, Output output, Target* target,
                 std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i, sums += unit_columns, target += stride) {
    if (columns >= unit_columns) {
#pragma GCC unroll 2
      for (std::int64_t j = 0; j < unit_columns; j += vector_lanes<float>) {
        const Vector<float> sum = load_sums(sums + j);
        store_sums(target + j, output == Output::accumulate ? sum + load_sums(target + j) : sum);
      }
    } else {
      for (std::int64_t j = 0; j < columns; ++j) {
        const float before = output == Output::accumulate ? static_cast<float>(target[j]) : 0.0f;
        target[j] = static_cast<Target>(before + sums[j]);
      }
    }
  }
}

/// Packed rows (core/products/matrix_units.h).
struct Rows {
  const bfloat16* data;
  std::int64_t stride;
};

template <class T>
class UnitKernel {
 public:
  using Packed = bfloat16;
  using Registers = TileRegisters;
  static constexpr std::int64_t block_rows = 256, share_rows = unit_rows, panel_columns = unit_columns;
  // unit_rows rows of a chunk, and a panel, stay in the first-level cache.
  static constexpr std::int64_t most_chunk = pieces<T> == 1 ? 256 : 64, inner_step = unit_inner;
  static constexpr std::int64_t least_panels = 1, most_panels = 16;  // their chunk stays in the second-level cache
  static constexpr std::int64_t most_packed = 32L << 20;             // bytes

  UnitKernel(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output)
      : a_(a), b_(b), c_(c), output_(output) {}

  static std::int64_t panel_size(std::int64_t length) { return packed_length<T>(length) * unit_columns; }
  static std::int64_t left_size(std::int64_t length) { return block_rows * packed_length<T>(length); }
  /// (units of rows, most_panels, unit_rows, unit_columns)
  std::int64_t sums_size(const Chunks&, std::int64_t) const { return block_rows / unit_rows * most_panels * unit_size; }

  bool takes_right_in_place() const { return false; }

  void pack_panel(std::int64_t begin, std::int64_t inner, std::int64_t column, std::int64_t columns,
                  bfloat16* packed) const {
    const auto* const source = static_cast<const T*>(b_.data) + begin * b_.row_stride + column * b_.column_stride;
    if (b_.column_stride == 1) {
      pack_unit_panel(source, b_.row_stride, inner, columns, packed);
    } else {
      pack_unit_panel_transposed(source, b_.column_stride, inner, columns, packed);
    }
  }

  void multiply(const Block& block, const PackedChunk<bfloat16>& chunk, bfloat16* packed_left, float* sums) const {
    const Rows left = rows_of(block, chunk.begin, chunk.extent, packed_left);
    const std::int64_t steps = round_up(chunk.extent, unit_inner) / unit_inner;
    for (std::int64_t i = 0; i < block.rows; i += unit_rows) {
      float* const row_of_units = sums + i / unit_rows * most_panels * unit_size;
      for (std::int64_t panel = 0; panel < block.panels; ++panel) {
        multiply_units<T>(left.data + i * left.stride, left.stride, chunk.panels + panel * chunk.panel_size, steps,
                          row_of_units + panel * unit_size, !chunk.first);
      }
    }
  }

  /// c <- [c +] the block's sums.
  void finish(const Block& block, const float* sums) const {
    if (c_.type == DataType::bfloat16) {
      finish_into(block, sums, static_cast<bfloat16*>(c_.data));
    } else {
      finish_into(block, sums, static_cast<float*>(c_.data));
    }
  }

 private:
  /// The block's rows of a chunk, packed where they do not lie well as they are.
  Rows rows_of(const Block& block, std::int64_t begin, std::int64_t inner, bfloat16* packed) const {
    const auto* const source = static_cast<const T*>(a_.data) + block.row * a_.row_stride + begin * a_.column_stride;
    if constexpr (pieces<T> == 1) {
      const bool near = a_.row_stride * static_cast<std::int64_t>(sizeof(T)) <= in_place_stride;
      if (a_.column_stride == 1 && near && inner % unit_inner == 0 && block.rows % unit_rows == 0) {
        return {source, a_.row_stride};
      }
    }
    if (a_.column_stride == 1) {
      pack_unit_rows(source, a_.row_stride, block.rows, inner, packed);
    } else {
      pack_unit_rows_transposed(source, a_.column_stride, block.rows, inner, packed);
    }
    return {packed, packed_length<T>(inner)};
  }

  template <class Target>
  void finish_into(const Block& block, const float* sums, Target* target) const {
    for (std::int64_t i = 0; i < block.rows; i += unit_rows) {
      for (std::int64_t j = 0; j < block.columns; j += unit_columns) {
        finish_unit(sums + (i / unit_rows * most_panels + j / unit_columns) * unit_size,
                    std::min(unit_rows, block.rows - i), std::min(unit_columns, block.columns - j), output_,
                    target + (block.row + i) * c_.row_stride + block.column + j, c_.row_stride);
      }
    }
  }

  const ConstMatrix& a_;
  const ConstMatrix& b_;
  const Matrix& c_;
  Output output_;
};

}  // namespace

bool units_suit(const ConstMatrix& a, const ConstMatrix& b, int threads) {
  return has_matrix_units() && a.rows >= rows_per_thread * threads && a.columns >= least_inner && b.columns >= 16;
}

void unit_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                  int threads) {
  assert(c.rows > 0 && c.columns > 0 && a.columns > 0 && a.type != DataType::float64);
  if (a.type == DataType::float32) {
    blocked_product<UnitKernel<float> >(pool, a, b, c, output, threads);
  } else {
    blocked_product<UnitKernel<bfloat16> >(pool, a, b, c, output, threads);
  }
}

std::int64_t unit_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  return a.type == DataType::float32 ? blocked_product_bytes<UnitKernel<float> >(a, b, c, threads)
                                     : blocked_product_bytes<UnitKernel<bfloat16> >(a, b, c, threads);
}

#endif

}  // namespace palimpsest::products
