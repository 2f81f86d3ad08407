// The matrix units' kernel of the loop nest in core/products/blocked.h. A block's rows of a chunk are for the
// second-level cache, unit_rows of them for the first-level cache, against each panel of the right operand.
#include "core/products/unit_product.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include <omp.h>

#ifdef __AMX_BF16__
#include <immintrin.h>
#endif

#include "core/products/blocked.h"
#include "core/products/inner_steps.h"
#include "core/products/least_rows.h"
#include "core/products/matrix_units.h"
#include "core/products/unit_packing.h"

namespace palimpsest::products {

#ifndef __AMX_BF16__

bool units_suit(const ConstMatrix&, const ConstMatrix&) { return false; }
void unit_product(MemoryPool&, const ConstMatrix&, const ConstMatrix&, const ConstMatrix&, const Matrix&, int) {
  std::abort();
}
std::int64_t unit_product_bytes(const ConstMatrix&, const ConstMatrix&, const Matrix&, int) { return 0; }
ProductShares unit_product_shares(const ConstMatrix&, const ConstMatrix&, const Matrix&, int) { return {}; }

#else

namespace {

constexpr std::int64_t in_place_stride = 1024;  // bytes; rows farther apart meet in the same sets of a cache
constexpr std::int64_t least_inner = 16;
constexpr std::int64_t unit_size = unit_rows * unit_columns;

/// How results reach memory. `past_caches`: whole lines, which are not read first and do not stay in a cache.
enum class Stores { plain, past_caches };

/// Two vectors of sums side by side as elements of Target.
template <Stores stores>
inline void store_row(float* target, const Vector<float>& low, const Vector<float>& high) {
  constexpr std::int64_t lanes = vector_lanes<float>;
  if constexpr (stores == Stores::past_caches) {
    _mm512_stream_ps(target, reinterpret_cast<__m512>(low));
    _mm512_stream_ps(target + lanes, reinterpret_cast<__m512>(high));
  } else {
    store_sums(target, low);
    store_sums(target + lanes, high);
  }
}
template <Stores stores>
inline void store_row(bfloat16* target, const Vector<float>& low, const Vector<float>& high) {
  const auto row = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high), reinterpret_cast<__m512>(low));
  if constexpr (stores == Stores::past_caches) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target), reinterpret_cast<__m512i>(row));
  } else {
    store(target, row);
  }
}

/// target <- [addend +] `rows` by `columns` of a unit's sums. The addend may be the target.
template <bool adds, Stores stores, class Target>
void finish_unit(const float* sums, std::int64_t rows, std::int64_t columns, const Target* addend,
                 std::int64_t addend_stride, Target* target, std::int64_t stride) {
  static_assert(unit_columns == 2 * vector_lanes<float>);
  for (std::int64_t i = 0; i < rows; ++i, sums += unit_columns, addend += addend_stride, target += stride) {
    if (columns >= unit_columns) {
      Vector<float> low = load_sums(sums), high = load_sums(sums + vector_lanes<float>);
      if constexpr (adds) {
        low += load_sums(addend);
        high += load_sums(addend + vector_lanes<float>);
      }
      store_row<stores>(target, low, high);
    } else {
      for (std::int64_t j = 0; j < columns; ++j) {
        target[j] = static_cast<Target>((adds ? static_cast<float>(addend[j]) : 0.0f) + sums[j]);
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

  /// Adds to `addend`, which may be c, or without data to nothing.
  UnitKernel(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, const ConstMatrix& addend)
      : a_(a), b_(b), c_(c), addend_(addend) {}

  static std::int64_t panel_size(std::int64_t length) { return packed_length<T>(length) * unit_columns; }
  static std::int64_t left_size(std::int64_t length) { return block_rows * packed_length<T>(length); }
  /// (units of rows, most_panels, unit_rows, unit_columns)
  std::int64_t sums_size(const Chunks&, std::int64_t) const { return block_rows / unit_rows * most_panels * unit_size; }

  /// Where all of the right operand stays in the second-level cache, no more rows than a unit's, whose sums then stay
  /// in the first one from chunk to chunk; rows that have to be transposed come by whole lines.
  std::int64_t rows_at_once(std::int64_t right_bytes, const Chunks& chunks) const {
    constexpr std::int64_t second_cache = 1L << 20;
    return chunks.count > 1 && right_bytes <= second_cache && a_.column_stride == 1 ? unit_rows : block_rows;
  }

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
    const bool only = chunk.first && chunk.last;  // then sums need not outlive their unit
    const Stores stores = chunk.last ? stores_of_result() : Stores::plain;
    for (std::int64_t i = 0; i < block.rows; i += unit_rows) {
      float* const row_of_units = sums + i / unit_rows * most_panels * unit_size;
      for (std::int64_t panel = 0; panel < block.panels; ++panel) {
        float* const unit = only ? sums : row_of_units + panel * unit_size;
        prefetch_rows(left, i + unit_rows, block.rows, chunk.extent, panel, block.panels);
        prefetch_next_chunk(block, chunk, i / unit_rows * block.panels + panel);
        if (chunk.last && stores == Stores::plain) prefetch_unit<1>(c_, block, i, panel * unit_columns);
        if (chunk.last && adds_elsewhere()) prefetch_unit<0>(addend_, block, i, panel * unit_columns);
        multiply_units<T>(left.data + i * left.stride, left.stride, chunk.panels + panel * chunk.panel_size, steps,
                          unit, !chunk.first);
        if (chunk.last) finish(block, i, panel * unit_columns, unit, stores);
      }
    }
    if (stores == Stores::past_caches) _mm_sfence();  // other threads may read them next
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

  /// The panel's share of the next unit_rows rows of the left operand, which no hardware foresees where they lie apart.
  static void prefetch_rows(const Rows& left, std::int64_t i, std::int64_t rows, std::int64_t inner, std::int64_t panel,
                            std::int64_t panels) {
    if (i >= rows) return;
    constexpr std::int64_t line = 64 / sizeof(bfloat16);
    const std::int64_t begin = panel * unit_rows / panels, end = (panel + 1) * unit_rows / panels;
    for (std::int64_t row = i + begin; row < i + end; ++row) {
      for (std::int64_t k = 0; k < packed_length<T>(inner); k += line) prefetch(left.data + row * left.stride + k);
    }
  }
  /// A unit's share of the next chunk's rows of the left operand, which lies transposed, for the second-level cache.
  void prefetch_next_chunk(const Block& block, const PackedChunk<bfloat16>& chunk, std::int64_t unit) const {
    if (pieces<T> != 1 || a_.column_stride == 1) return;
    constexpr auto line = static_cast<std::int64_t>(64 / sizeof(T));
    const std::int64_t units = (block.rows + unit_rows - 1) / unit_rows * block.panels;
    const std::int64_t begin = chunk.extent * unit / units, end = chunk.extent * (unit + 1) / units;
    const auto* source =
        static_cast<const T*>(a_.data) + block.row + (chunk.begin + chunk.extent + begin) * a_.column_stride;
    for (std::int64_t k = begin; k < end; ++k, source += a_.column_stride) {
      for (std::int64_t i = 0; i < block.rows; i += line) {
        _mm_prefetch(reinterpret_cast<const char*>(source + i), _MM_HINT_T1);
      }
    }
  }
  bool adds_elsewhere() const { return addend_.data != nullptr && addend_.data != c_.data; }
  /// The block's unit at (i, j) of c or the addend, to be written or not.
  template <int written>
  static void prefetch_unit(const ConstMatrix& matrix, const Block& block, std::int64_t i, std::int64_t j) {
    const auto bytes = static_cast<std::int64_t>(size_of(matrix.type)), stride = matrix.row_stride * bytes;
    const auto* at = static_cast<const std::byte*>(matrix.data) + (block.row + i) * stride + (block.column + j) * bytes;
    for (std::int64_t row = 0; row < std::min(unit_rows, block.rows - i); ++row, at += stride) {
      __builtin_prefetch(at, written);
      if (bytes == 4) __builtin_prefetch(at + 64, written);
    }
  }

  /// Results that are so large that they leave the caches before they are read go past them, where their lines are
  /// whole: the memory then has half as much to do.
  Stores stores_of_result() const {
    constexpr std::int64_t most_kept = 4L << 20, line = 64;  // bytes of a thread; of a line
    const auto bytes = static_cast<std::int64_t>(size_of(c_.type));
    const bool large = c_.rows * c_.columns * bytes > most_kept * omp_get_num_threads();
    const bool lines = reinterpret_cast<std::uintptr_t>(c_.data) % line == 0 && c_.row_stride * bytes % line == 0;
    return pieces<T> == 1 && addend_.data != c_.data && large && lines ? Stores::past_caches : Stores::plain;
  }

  /// c <- [addend +] the sums of the block's unit at (i, j), which are still in the first-level cache.
  void finish(const Block& block, std::int64_t i, std::int64_t j, const float* sums, Stores stores) const {
    if (c_.type == DataType::bfloat16) {
      finish_into<bfloat16>(block, i, j, sums, stores);
    } else {
      finish_into<float>(block, i, j, sums, stores);
    }
  }
  template <class Target>
  void finish_into(const Block& block, std::int64_t i, std::int64_t j, const float* sums, Stores stores) const {
    const std::int64_t rows = std::min(unit_rows, block.rows - i), columns = std::min(unit_columns, block.columns - j);
    Target* const target = static_cast<Target*>(c_.data) + (block.row + i) * c_.row_stride + block.column + j;
    const std::int64_t stride = addend_.row_stride;
    const auto* addend = static_cast<const Target*>(addend_.data);
    if (addend != nullptr) addend += (block.row + i) * stride + block.column + j;
    const auto finish = [&](auto adds, auto past_caches) {
      constexpr Stores how = past_caches ? Stores::past_caches : Stores::plain;
      finish_unit<adds, how>(sums, rows, columns, addend, stride, target, c_.row_stride);
    };
    const auto finish_by = [&](auto adds) {
      stores == Stores::plain ? finish(adds, std::false_type()) : finish(adds, std::true_type());
    };
    addend != nullptr ? finish_by(std::true_type()) : finish_by(std::false_type());
  }

  const ConstMatrix& a_;
  const ConstMatrix& b_;
  const Matrix& c_;
  ConstMatrix addend_;
};

}  // namespace

bool units_suit(const ConstMatrix& a, const ConstMatrix& b) {
  return has_matrix_units() && a.rows >= least_rows && a.columns >= least_inner && b.columns >= 16;
}

namespace {

/// Rows of b that are multiplied at a time, their products added to c. Where c is small and has many of them, as the
/// gradient of a small weight over a long sequence, so few that packed they stay in the second-level cache: c may then
/// be read and written a few times more. Whatever the number of threads, since sums depend on it.
template <class T>
std::int64_t inner_at_once(const ConstMatrix& b, const Matrix& c) {
  constexpr std::int64_t most_bytes = 512L << 10, most_result = pieces<T> == 1 ? 2 * most_bytes : most_bytes;
  constexpr std::int64_t chunk = UnitKernel<T>::most_chunk;
  const std::int64_t row_bytes = pieces<T> * b.columns * static_cast<std::int64_t>(sizeof(bfloat16));
  const bool small = c.rows * c.columns * static_cast<std::int64_t>(sizeof(float)) <= most_result;
  if (c.type != DataType::float32 || !small || b.rows * row_bytes <= 2 * most_bytes) return b.rows;
  return std::max<std::int64_t>(most_bytes / row_bytes / chunk, 1) * chunk;
}

template <class T>
void product_of(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                const Matrix& c, int threads) {
  for_inner_steps(a, b, inner_at_once<T>(b, c), [&](const ConstMatrix& left, const ConstMatrix& right, bool first) {
    blocked_product<UnitKernel<T> >(pool, left, right, c, first ? addend : ConstMatrix(c), threads);
  });
}

template <class T>
std::int64_t product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  const std::int64_t inner = inner_at_once<T>(b, c);
  ConstMatrix left = a, right = b;
  left.columns = right.rows = inner;
  return blocked_product_bytes<UnitKernel<T> >(left, right, c, threads);
}

}  // namespace

void unit_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                  const Matrix& c, int threads) {
  assert(c.rows > 0 && c.columns > 0 && a.columns > 0 && a.type != DataType::float64);
  if (a.type == DataType::float32) {
    product_of<float>(pool, a, b, addend, c, threads);
  } else {
    product_of<bfloat16>(pool, a, b, addend, c, threads);
  }
}

std::int64_t unit_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  return a.type == DataType::float32 ? product_bytes<float>(a, b, c, threads)
                                     : product_bytes<bfloat16>(a, b, c, threads);
}

ProductShares unit_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  return a.type == DataType::float32 ? blocked_product_shares<UnitKernel<float> >(a, b, c, threads)
                                     : blocked_product_shares<UnitKernel<bfloat16> >(a, b, c, threads);
}

#endif

}  // namespace palimpsest::products
