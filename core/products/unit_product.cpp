// From outside in:
//   columns of c, as many as keep the packed right operand small: all of it is packed, by all threads
//     rows of c, a thread's share of them in blocks
//       chunks of the inner dimension: the block of the left operand is packed, for the second-level cache
//         unit_rows of the left operand, for the first-level cache, against each panel of the right one
#include "core/products/unit_product.h"

#include <algorithm>
#include <cstdlib>

#include "core/products/buffer.h"
#include "core/products/chunks.h"
#include "core/products/matrix_units.h"
#include "core/products/unit_packing.h"

namespace palimpsest::products {

#ifndef __AMX_BF16__

bool units_suit(const ConstMatrix&, const ConstMatrix&, int) { return false; }
void unit_product(const ConstMatrix&, const ConstMatrix&, const Matrix&, Output, int) { std::abort(); }

#else

namespace {

constexpr std::int64_t block_rows = 256;
constexpr std::int64_t most_panels = 16;         // packed at a time; their chunk stays in the second-level cache
constexpr std::int64_t most_packed = 32L << 20;  // bytes of them
constexpr std::int64_t in_place_stride = 1024;   // bytes; rows farther apart meet in the same sets of a cache
constexpr std::int64_t rows_per_thread = 24;     // fewer are left to oneDNN
constexpr std::int64_t least_inner = 16;
constexpr std::int64_t unit_size = unit_rows * unit_columns;

/// Elements of a chunk of the inner dimension: unit_rows rows of it, and a panel, stay in the first-level cache.
template <class T>
constexpr std::int64_t most_chunk = pieces<T> == 1 ? 256 : 64;

/// target <- [target +] `rows` by `columns` of a unit's sums.
template <class Target>
void finish(const float* sums, std::int64_t rows, std::int64_t columns, Output output, Target* target,
            std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i, sums += unit_columns, target += stride) {
    if (columns >= unit_columns) {
#pragma GCC unroll 2
      for (std::int64_t j = 0; j < unit_columns; j += lanes<float>) {
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

/// The block's rows of a chunk, packed where they do not lie well as they are.
template <class T>
Rows block_of_left(const ConstMatrix& a, std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t inner,
                   bfloat16* packed) {
  const auto* const source = static_cast<const T*>(a.data) + row * a.row_stride + begin * a.column_stride;
  if constexpr (pieces<T> == 1) {
    const bool near = a.row_stride * static_cast<std::int64_t>(sizeof(T)) <= in_place_stride;
    if (a.column_stride == 1 && near && inner % unit_inner == 0 && rows % unit_rows == 0) return {source, a.row_stride};
  }
  if (a.column_stride == 1) {
    pack_unit_rows(source, a.row_stride, rows, inner, packed);
  } else {
    pack_unit_rows_transposed(source, a.column_stride, rows, inner, packed);
  }
  return {packed, packed_length<T>(inner)};
}

/// The right operand in packed panels, so many at a time, chunk after chunk.
template <class T>
class PackedRight {
 public:
  PackedRight(const ConstMatrix& b, const Chunks& chunks)
      : b_(b), chunks_(chunks), panel_size_(packed_length<T>(chunks.length) * unit_columns) {
    const std::int64_t panel_bytes = chunks.count * panel_size_ * static_cast<std::int64_t>(sizeof(bfloat16));
    panels_at_once_ = std::clamp(most_packed / panel_bytes, std::int64_t{1},
                                 std::min(most_panels, (b.columns + unit_columns - 1) / unit_columns));
  }

  std::int64_t panels_at_once() const { return panels_at_once_; }
  std::int64_t elements() const { return panels_at_once_ * chunks_.count * panel_size_; }

  /// Where a panel of a chunk stands in `packed`.
  template <class Packed>
  Packed* panel(std::int64_t chunk, std::int64_t panel, Packed* packed) const {
    return packed + (chunk * panels_at_once_ + panel) * panel_size_;
  }

  /// Packs it; `column` is its first column in the right operand.
  void pack(std::int64_t chunk, std::int64_t panel, std::int64_t column, bfloat16* packed) const {
    const auto* const source =
        static_cast<const T*>(b_.data) + chunks_.begin(chunk) * b_.row_stride + column * b_.column_stride;
    const std::int64_t columns = std::min(unit_columns, b_.columns - column), inner = chunks_.extent(chunk);
    bfloat16* const target = this->panel(chunk, panel, packed);
    if (b_.column_stride == 1) {
      pack_unit_panel(source, b_.row_stride, inner, columns, target);
    } else {
      pack_unit_panel_transposed(source, b_.column_stride, inner, columns, target);
    }
  }

 private:
  const ConstMatrix& b_;
  const Chunks& chunks_;
  std::int64_t panel_size_, panels_at_once_;
};

/// sums (units of rows, most_panels, unit_rows, unit_columns) <- [sums +] one chunk of a block of rows times packed
/// panels.
template <class T>
void multiply_block(const Rows& left, std::int64_t rows, const PackedRight<T>& right, const bfloat16* packed,
                    std::int64_t chunk, std::int64_t steps, std::int64_t panels, float* sums) {
  for (std::int64_t i = 0; i < rows; i += unit_rows) {
    float* const row_of_units = sums + i / unit_rows * most_panels * unit_size;
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      multiply_units<T>(left.data + i * left.stride, left.stride, right.panel(chunk, panel, packed), steps,
                        row_of_units + panel * unit_size, chunk > 0);
    }
  }
}

/// c, from (row, column) on, <- [c +] a block's sums.
void finish_block(const float* sums, const Matrix& c, std::int64_t row, std::int64_t rows, std::int64_t column,
                  std::int64_t columns, Output output) {
  const auto finish_all = [&](auto* target) {
    for (std::int64_t i = 0; i < rows; i += unit_rows) {
      for (std::int64_t j = 0; j < columns; j += unit_columns) {
        finish(sums + (i / unit_rows * most_panels + j / unit_columns) * unit_size, std::min(unit_rows, rows - i),
               std::min(unit_columns, columns - j), output, target + (row + i) * c.row_stride + column + j,
               c.row_stride);
      }
    }
  };
  if (c.type == DataType::bfloat16) {
    finish_all(static_cast<bfloat16*>(c.data));
  } else {
    finish_all(static_cast<float*>(c.data));
  }
}

template <class T>
void run(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads) {
  thread_local Buffer right_buffer;
  const Chunks chunks(a.columns, most_chunk<T>, unit_inner);
  const PackedRight<T> right(b, chunks);
  bfloat16* const packed = right_buffer.take<bfloat16>(right.elements());
  const std::int64_t share = round_up((a.rows + threads - 1) / threads, unit_rows);
  const std::int64_t most_columns = right.panels_at_once() * unit_columns;

#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    thread_local Buffer left_buffer, sums_buffer;
    const TileRegisters registers;
    bfloat16* const packed_left = left_buffer.take<bfloat16>(block_rows * packed_length<T>(chunks.length));
    float* const sums = sums_buffer.take<float>(block_rows / unit_rows * most_panels * unit_size);
    for (std::int64_t column = 0; column < b.columns; column += most_columns) {
      const std::int64_t columns = std::min(most_columns, b.columns - column);
      const std::int64_t panels = (columns + unit_columns - 1) / unit_columns;
#pragma omp for schedule(static)
      for (std::int64_t piece = 0; piece < panels * chunks.count; ++piece) {
        const std::int64_t panel = piece % panels;
        right.pack(piece / panels, panel, column + panel * unit_columns, packed);
      }
#pragma omp for schedule(static)
      for (int thread = 0; thread < threads; ++thread) {
        const std::int64_t end = std::min((thread + 1) * share, a.rows);
        for (std::int64_t row = thread * share; row < end; row += block_rows) {
          const std::int64_t rows = std::min(block_rows, end - row);
          for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
            const std::int64_t inner = chunks.extent(chunk);
            const Rows left = block_of_left<T>(a, row, rows, chunks.begin(chunk), inner, packed_left);
            multiply_block(left, rows, right, packed, chunk, round_up(inner, unit_inner) / unit_inner, panels, sums);
          }
          finish_block(sums, c, row, rows, column, columns, output);
        }
      }
    }
  }
}

}  // namespace

bool units_suit(const ConstMatrix& a, const ConstMatrix& b, int threads) {
  return has_matrix_units() && a.rows >= rows_per_thread * threads && a.columns >= least_inner && b.columns >= 16;
}

void unit_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads) {
  if (a.type == DataType::float32) {
    run<float>(a, b, c, output, threads);
  } else {
    run<bfloat16>(a, b, c, output, threads);
  }
}

#endif

}  // namespace palimpsest::products
