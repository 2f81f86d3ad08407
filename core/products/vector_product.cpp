// The vectors' kernel of the loop nest in core/products/blocked.h. A block's rows of a chunk are for the second-level
// cache, and so are groups of panels of the right operand; rows of a micro-kernel for the first-level cache, against
// each panel of the group.
#include "core/products/vector_product.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <limits>

#include "core/products/blocked.h"
#include "core/products/inner_steps.h"
#include "core/products/least_rows.h"
#include "core/products/micro_kernel.h"
#include "core/products/packing.h"

namespace palimpsest::products {

namespace {

// Narrow vectors take longer over a panel, and leave time to bring in the next one: then a group is of as many panels
// as stay in the first-level cache. Otherwise it is of 384 KB.
constexpr bool narrow_vectors = vector_bytes < 64;
constexpr std::int64_t group_bytes = narrow_vectors ? 24L << 10 : 384L << 10;
constexpr std::int64_t most_panels_in_group = 6;
constexpr std::int64_t line_bytes = 64;         // of a cache
constexpr std::int64_t in_place_stride = 1024;  // bytes; rows farther apart meet in the same sets of a cache
constexpr std::int64_t short_row = 512;  // bytes of a row's chunk; the hardware foresees what follows longer ones

template <class T>
struct Left {
  const T* data;
  std::int64_t stride;
  LeftLayout layout;
  std::int64_t panel = 0;  // interleaved: from tile_rows rows to the next

  /// From a row on.
  const T* at(std::int64_t row) const {
    return layout == LeftLayout::rows ? data + row * stride
                                      : data + row / tile_rows * panel + row % tile_rows * group<T>;
  }
};

template <class T>
struct Right {
  const T* data;
  std::int64_t stride;  // from unit to unit
  std::int64_t panel;   // from panel to panel
  std::int64_t group;   // elements to the next group of panels, 0 where nothing is to be brought in
};

/// What becomes of a tile of sums: target <- addend + sums. Either is float or bfloat16.
struct Destination {
  void* target;
  const void* addend;  // null for none
  bool narrow_target, narrow_addend;
  std::int64_t target_stride, addend_stride;

  Destination at(std::int64_t row, std::int64_t column) const {
    Destination part = *this;
    part.target = static_cast<std::byte*>(target) + (row * target_stride + column) * (narrow_target ? 2 : 4);
    if (addend) {
      part.addend = static_cast<const std::byte*>(addend) + (row * addend_stride + column) * (narrow_addend ? 2 : 4);
    }
    return part;
  }
};

/// Where the tile's sums will go: rows that lie apart, which no hardware foresees.
inline void prefetch_target(const Destination& to, std::int64_t rows) {
  const std::int64_t bytes = to.narrow_target ? 2 : 4;
  const auto* target = static_cast<const std::byte*>(to.target);
  for (std::int64_t i = 0; i < rows; ++i, target += to.target_stride * bytes) {
    __builtin_prefetch(target, 1);
    __builtin_prefetch(target + (tile_columns<float> - 1) * bytes, 1);
  }
}

template <int rows, int vectors>
[[gnu::always_inline]] inline void finish(Vector<float> (&sums)[rows][vectors], const Destination& to,
                                          std::int64_t columns) {
  constexpr std::int64_t width = vectors * vector_lanes<float>;
  const auto each = [&](auto function) {
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) function(i, j * vector_lanes<float>, sums[i][j]);
    }
  };
  if (columns >= width) {
    if (to.addend && to.narrow_addend) {
      const auto* from = static_cast<const bfloat16*>(to.addend);
      each([&](int i, std::int64_t j, Vector<float>& sum) { sum += load_sums(from + i * to.addend_stride + j); });
    } else if (to.addend) {
      const auto* from = static_cast<const float*>(to.addend);
      each([&](int i, std::int64_t j, Vector<float>& sum) { sum += load_sums(from + i * to.addend_stride + j); });
    }
    if (to.narrow_target) {
      auto* target = static_cast<bfloat16*>(to.target);
      each(
          [&](int i, std::int64_t j, const Vector<float>& sum) { store_sums(target + i * to.target_stride + j, sum); });
    } else {
      auto* target = static_cast<float*>(to.target);
      each(
          [&](int i, std::int64_t j, const Vector<float>& sum) { store_sums(target + i * to.target_stride + j, sum); });
    }
    return;
  }
  float all[rows][width];
  each([&](int i, std::int64_t j, const Vector<float>& sum) { store(&all[i][j], sum); });
  for (int i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      float sum = all[i][j];
      if (to.addend) {
        const std::int64_t index = i * to.addend_stride + j;
        sum += to.narrow_addend ? static_cast<float>(static_cast<const bfloat16*>(to.addend)[index])
                                : static_cast<const float*>(to.addend)[index];
      }
      const std::int64_t index = i * to.target_stride + j;
      if (to.narrow_target) {
        static_cast<bfloat16*>(to.target)[index] = sum;
      } else {
        static_cast<float*>(to.target)[index] = sum;
      }
    }
  }
}

template <class T, LeftLayout layout, int rows, int vectors>
[[gnu::noinline]] void multiply_tile(const T* left, std::int64_t left_stride, const T* right, std::int64_t right_stride,
                                     std::int64_t units, const Destination& to, std::int64_t columns) {
  prefetch_target(to, rows);
  Vector<float> sums[rows][vectors];
  multiply<T, layout>(left, left_stride, right, right_stride, units, sums);
  finish(sums, to, columns);
}

/// A panel of rows of the left operand against panels of the right one, `columns` columns in all.
template <class T, LeftLayout layout, int rows>
void multiply_panels(const T* left, std::int64_t left_stride, const Right<T>& right, std::int64_t units,
                     const Destination& to, std::int64_t columns) {
  for (std::int64_t j = 0, panel = 0; j < columns; j += tile_columns<T>, ++panel) {
    const T* const b = right.data + panel * right.panel;
    const std::int64_t rest = columns - j;
    if (rest <= vector_lanes<T>) {
      multiply_tile<T, layout, rows, 1>(left, left_stride, b, right.stride, units, to.at(0, j), rest);
    } else {
      multiply_tile<T, layout, rows, tile_vectors>(left, left_stride, b, right.stride, units, to.at(0, j), rest);
    }
  }
}

/// Brings the share of `count` of `rows` rows of the group of panels behind this one into the second-level cache.
template <class T>
void prefetch_next(const Right<T>& right, std::int64_t row, std::int64_t count, std::int64_t rows) {
  constexpr std::int64_t line = line_bytes / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t lines = right.group / line, end = (row + count) * lines / rows;
  for (std::int64_t i = row * lines / rows; i < end; ++i) {
    __builtin_prefetch(right.data + right.group + i * line, 0, 2);
  }
}

/// Brings short rows, of so many units, into the second-level cache.
template <class T>
void prefetch_rows(const T* row, std::int64_t stride, std::int64_t count, std::int64_t units) {
  constexpr std::int64_t line = line_bytes / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < count; ++i, row += stride) {
    for (std::int64_t j = 0; j < units * group<T>; j += line) __builtin_prefetch(row + j, 0, 2);
  }
}

/// Interleaves by groups the columns of a row-major matrix of `inner` rows, in panels of `width` columns that are
/// `panel` elements apart: (columns / width, inner / group, width, group). All panels of a row come together, since
/// rows may lie far apart.
template <class T, std::int64_t width>
void pack_panels(const T* source, std::int64_t stride, std::int64_t inner, std::int64_t columns, T* target,
                 std::int64_t panel) {
  constexpr std::int64_t line = line_bytes / static_cast<std::int64_t>(sizeof(T)), rows_ahead = 8;
  struct Row {
    Unit<T> values[width];
  };
  for (std::int64_t p = 0; p < inner; p += group<T>, target += width * group<T>) {
    const T* const from = source + p * stride;
    for (std::int64_t j = 0; j < columns; j += line) __builtin_prefetch(from + rows_ahead * stride + j);
    const std::int64_t together = std::min(group<T>, inner - p);
    T* to = target;
    for (std::int64_t j = 0; j < columns; j += width, to += panel) {
      if (group<T> == 1 && j + width <= columns) {
        store(to, load<Row>(from + j));
      } else {
        pack_rows(from + j, stride, together, std::min(width, columns - j), width, to, width * group<T>);
      }
    }
  }
}

/// `first`: these rows have met no panel before.
template <class T, LeftLayout layout>
void multiply_rows(const Left<T>& left, std::int64_t rows, const Right<T>& right, std::int64_t units,
                   const Destination& to, std::int64_t columns, bool first) {
  const bool unforeseen = narrow_vectors && first && layout == LeftLayout::rows &&
                          units * group<T> * static_cast<std::int64_t>(sizeof(T)) <= short_row;
  std::int64_t i = 0;
  const auto take = [&]<int count>() {
    for (; i + count <= rows; i += count) {
      prefetch_next(right, i, count, rows);
      if (unforeseen) {
        prefetch_rows(left.at(i + count), left.stride, std::min<std::int64_t>(count, rows - i - count), units);
      }
      multiply_panels<T, layout, count>(left.at(i), left.stride, right, units, to.at(i, 0), columns);
    }
  };
  take.template operator()<tile_rows>();
  if constexpr (tile_rows > 8) take.template operator()<8>();
  take.template operator()<4>();
  take.template operator()<1>();
}

template <class T>
class VectorKernel {
 public:
  using Packed = T;
  struct Registers {
    Registers() {}  // nothing to set up
  };
  static constexpr std::int64_t size = static_cast<std::int64_t>(sizeof(T));
  static constexpr std::int64_t block_rows = narrow_vectors ? 192 : 96, share_rows = 4, panel_columns = tile_columns<T>;
  static constexpr std::int64_t most_chunk = (narrow_vectors ? 1024 : 2048) / size, inner_step = 16;
  static constexpr std::int64_t least_panels = most_panels_in_group,
                                most_panels = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t most_packed = 16L << 20;  // bytes

  /// `addend`: what the products are added to, a matrix like c, which may be c; its data are null for none.
  VectorKernel(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, const ConstMatrix& addend)
      : a_(a), b_(b), c_(c), addend_(addend), narrow_(c.type == DataType::bfloat16) {}

  static std::int64_t panel_size(std::int64_t length) { return round_up(length, group<T>) * panel_columns; }
  static std::int64_t left_size(std::int64_t length) { return block_rows * (length + 64); }
  /// Sums of several chunks are kept in float32 until the last one.
  std::int64_t sums_size(const Chunks& chunks, std::int64_t panels) const {
    return narrow_ && chunks.count > 1 ? block_rows * panels * panel_columns : 0;
  }

  static std::int64_t rows_at_once(std::int64_t, const Chunks&) { return block_rows; }

  bool takes_right_in_place() const {
    return group<T> == 1 && b_.column_stride == 1 && b_.columns % vector_lanes<T> == 0 &&
           b_.row_stride * size <= in_place_stride && a_.rows <= 512;
  }

  void pack_panel(std::int64_t begin, std::int64_t inner, std::int64_t column, std::int64_t columns, T* packed) const {
    const auto* const source = static_cast<const T*>(b_.data);
    if (b_.column_stride == 1) {
      pack_panels<T, panel_columns>(source + begin * b_.row_stride + column, b_.row_stride, inner, columns, packed, 0);
    } else {
      pack_transposed(source + column * b_.column_stride + begin, b_.column_stride, inner, columns, panel_columns,
                      packed, panel_columns * group<T>);
    }
  }

  void multiply(const Block& block, const PackedChunk<T>& chunk, T* packed_left, float* sums) const {
    const Left<T> left = pack_left(block, chunk.begin, chunk.extent, packed_left);
    const Destination to = destination(block, chunk, sums);
    const std::int64_t units = (chunk.extent + group<T> - 1) / group<T>;
    const std::int64_t panels_at_once =
        std::clamp(group_bytes / (chunk.panel_size * size), std::int64_t{1}, most_panels_in_group);
    for (std::int64_t panel = 0; panel < block.panels; panel += panels_at_once) {
      const std::int64_t column = panel * panel_columns;
      Right<T> right{chunk.panels + panel * chunk.panel_size, panel_columns * group<T>, chunk.panel_size,
                     narrow_vectors ? panels_at_once * chunk.panel_size : 0};
      if (chunk.panels == nullptr) {
        right = {static_cast<const T*>(b_.data) + chunk.begin * b_.row_stride + block.column + column, b_.row_stride,
                 panel_columns, 0};
      }
      const std::int64_t columns = std::min(panels_at_once * panel_columns, block.columns - column);
      if (left.layout == LeftLayout::rows) {
        multiply_rows<T, LeftLayout::rows>(left, block.rows, right, units, to.at(0, column), columns, panel == 0);
      } else {
        multiply_rows<T, LeftLayout::interleaved>(left, block.rows, right, units, to.at(0, column), columns,
                                                  panel == 0);
      }
    }
  }

 private:
  /// The block's rows of a chunk, packed where they do not lie well as they are.
  Left<T> pack_left(const Block& block, std::int64_t begin, std::int64_t inner, T* packed) const {
    const auto* const source = static_cast<const T*>(a_.data);
    const bool transposed = a_.column_stride != 1;
    const std::int64_t stride = transposed ? a_.column_stride : a_.row_stride;
    const bool near = stride * size <= in_place_stride;
    if (transposed) {
      const std::int64_t panel = round_up(inner, group<T>) * tile_rows;
      pack_panels<T, tile_rows>(source + begin * stride + block.row, stride, inner, block.rows, packed, panel);
      return {packed, tile_rows * group<T>, LeftLayout::interleaved, panel};
    }
    const T* const from = source + block.row * stride + begin;
    if (near && inner % group<T> == 0) return {from, stride, LeftLayout::rows};
    const std::int64_t padded = round_up(inner, group<T>) + 64 / size;
    for (std::int64_t i = 0; i < block.rows; ++i) {
      std::copy_n(from + i * stride, inner, packed + i * padded);
      if (inner % group<T> != 0) packed[i * padded + inner] = T(0);
    }
    return {packed, padded, LeftLayout::rows};
  }

  /// Of the block's first element, in bytes.
  static std::int64_t offset(const ConstMatrix& matrix, const Block& block) {
    return (block.row * matrix.row_stride + block.column) * static_cast<std::int64_t>(size_of(matrix.type));
  }

  Destination destination(const Block& block, const PackedChunk<T>& chunk, float* sums) const {
    const std::int64_t sums_stride = block.panels * panel_columns;
    void* const result = static_cast<std::byte*>(c_.data) + offset(c_, block);
    Destination to{result, result, narrow_, narrow_, c_.row_stride, c_.row_stride};
    if (chunk.first) {
      const auto* const addend = static_cast<const std::byte*>(addend_.data);
      to.addend = addend == nullptr ? nullptr : addend + offset(addend_, block), to.addend_stride = addend_.row_stride;
    } else if (narrow_) {
      to.addend = sums, to.narrow_addend = false, to.addend_stride = sums_stride;
    }
    if (narrow_ && !chunk.last) to.target = sums, to.narrow_target = false, to.target_stride = sums_stride;
    return to;
  }

  const ConstMatrix& a_;
  const ConstMatrix& b_;
  const Matrix& c_;
  ConstMatrix addend_;
  bool narrow_;
};

/// Rows of b that are multiplied at a time, their products added to c: all, unless there are many, as in the gradient
/// of a weight over a long sequence. Then so few that packed they stay in the second-level cache; c may be read and
/// written a few times more. Whatever the number of threads, since sums depend on it.
std::int64_t inner_at_once(const ConstMatrix& b, const Matrix& c) {
  if (!narrow_vectors || b.type != DataType::float32) return b.rows;
  constexpr std::int64_t chunk = VectorKernel<float>::most_chunk, most_elements = 96L << 10;
  const std::int64_t at_once =
      std::max<std::int64_t>(most_elements / std::min<std::int64_t>(c.columns, 1024) / chunk, 1) * chunk;
  return b.rows <= 2 * at_once ? b.rows : at_once;
}

}  // namespace

bool vectors_have_instructions(DataType type) {
#if defined(__AVX512BF16__)
  return type == DataType::float32 || type == DataType::bfloat16;
#elif defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
  return type == DataType::float32;
#else
  static_cast<void>(type);
  return false;
#endif
}

bool vectors_suit(const ConstMatrix& a, const ConstMatrix& b) { return a.rows >= least_rows && b.columns >= 16; }

void vector_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                    const Matrix& c, int threads) {
  assert(c.rows > 0 && c.columns > 0 && a.columns > 0 && a.type != DataType::float64);
  for_inner_steps(a, b, inner_at_once(b, c), [&](const ConstMatrix& left, const ConstMatrix& right, bool first) {
    const ConstMatrix before = first ? addend : ConstMatrix(c);
    if (a.type == DataType::float32) {
      blocked_product<VectorKernel<float>>(pool, left, right, c, before, threads);
    } else {
      blocked_product<VectorKernel<bfloat16>>(pool, left, right, c, before, threads);
    }
  });
}

std::int64_t vector_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  ConstMatrix left = a, right = b;
  left.columns = right.rows = inner_at_once(b, c);
  return a.type == DataType::float32 ? blocked_product_bytes<VectorKernel<float>>(left, right, c, threads)
                                     : blocked_product_bytes<VectorKernel<bfloat16>>(left, right, c, threads);
}

ProductShares vector_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  ProductShares shares(threads);
  for_inner_steps(a, b, inner_at_once(b, c), [&](const ConstMatrix& left, const ConstMatrix& right, bool) {
    const ProductShares step = a.type == DataType::float32
                                   ? blocked_product_shares<VectorKernel<float>>(left, right, c, threads)
                                   : blocked_product_shares<VectorKernel<bfloat16>>(left, right, c, threads);
    add_shares(step.multiplications, shares.multiplications);
    add_shares(step.packed, shares.packed);
  });
  return shares;
}

}  // namespace palimpsest::products
