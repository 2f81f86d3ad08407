// From outside in:
//   columns of c, as many as keep the packed right operand small: all of it is packed, by all threads
//     rows of c, a thread's share of them in blocks
//       chunks of the inner dimension: the block of the left operand is packed, for the second-level cache
//         groups of panels of the right operand that fit there, too
//           panels of the left operand, for the first-level cache, against each panel of the group
#include "core/products/blocked_product.h"

#include <algorithm>
#include <cstddef>

#include "core/products/buffer.h"
#include "core/products/chunks.h"
#include "core/products/micro_kernel.h"
#include "core/products/packing.h"

namespace palimpsest::products {

namespace {

constexpr std::int64_t block_rows = 96;
constexpr std::int64_t chunk_bytes = 2048;       // of a row in a chunk of the inner dimension
constexpr std::int64_t panels_in_group = 6;      // times a chunk: 384 KB
constexpr std::int64_t most_packed = 16L << 20;  // bytes of the right operand that are packed at a time
constexpr std::int64_t in_place_stride = 1024;   // bytes; rows farther apart meet in the same sets of a cache
constexpr std::int64_t rows_per_thread = 24;     // fewer are left to oneDNN
constexpr std::int64_t row_granularity = 4;      // of the threads' shares

template <class T>
struct Left {
  const T* data;
  std::int64_t stride;
  LeftLayout layout;

  /// From a row and an element (a multiple of the group) of the inner dimension on.
  const T* at(std::int64_t row, std::int64_t inner) const {
    return layout == LeftLayout::rows ? data + row * stride + inner : data + inner / group<T> * stride + row * group<T>;
  }
};

template <class T>
struct Right {
  const T* data;
  std::int64_t stride;  // from unit to unit
  std::int64_t panel;   // from panel to panel
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

template <int rows, int vectors>
[[gnu::always_inline]] inline void finish(Vector<float> (&sums)[rows][vectors], const Destination& to,
                                          std::int64_t columns) {
  constexpr std::int64_t width = vectors * lanes<float>;
  const auto each = [&](auto function) {
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < vectors; ++j) function(i, j * lanes<float>, sums[i][j]);
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
    if (rest <= lanes<T>) {
      multiply_tile<T, layout, rows, 1>(left, left_stride, b, right.stride, units, to.at(0, j), rest);
    } else {
      multiply_tile<T, layout, rows, tile_vectors>(left, left_stride, b, right.stride, units, to.at(0, j), rest);
    }
  }
}

template <class T, LeftLayout layout>
void multiply_rows(const Left<T>& left, std::int64_t rows, std::int64_t inner, const Right<T>& right,
                   std::int64_t units, const Destination& to, std::int64_t columns) {
  std::int64_t i = 0;
  const auto take = [&]<int count>() {
    for (; i + count <= rows; i += count) {
      multiply_panels<T, layout, count>(left.at(i, inner), left.stride, right, units, to.at(i, 0), columns);
    }
  };
  take.template operator()<tile_rows>();
  if constexpr (tile_rows > 8) take.template operator()<8>();
  take.template operator()<4>();
  take.template operator()<1>();
}

/// The block's rows of a chunk, packed where they do not lie well as they are.
template <class T>
Left<T> pack_left(const ConstMatrix& a, std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t inner,
                  T* packed) {
  const auto* const source = static_cast<const T*>(a.data);
  const bool transposed = a.column_stride != 1;
  const std::int64_t stride = transposed ? a.column_stride : a.row_stride;
  const bool near = stride * static_cast<std::int64_t>(sizeof(T)) <= in_place_stride;
  if (transposed) {
    if (near && group<T> == 1) return {source + begin * stride + row, stride, LeftLayout::interleaved};
    pack_rows(source + begin * stride + row, stride, inner, rows, rows, packed, block_rows * group<T>);
    return {packed, block_rows * group<T>, LeftLayout::interleaved};
  }
  const T* const from = source + row * stride + begin;
  if (near && inner % group<T> == 0) return {from, stride, LeftLayout::rows};
  const std::int64_t padded = round_up(inner, group<T>) + 64 / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < rows; ++i) {
    std::copy_n(from + i * stride, inner, packed + i * padded);
    if (inner % group<T> != 0) packed[i * padded + inner] = T(0);
  }
  return {packed, padded, LeftLayout::rows};
}

/// One chunk's panel of the right operand.
template <class T>
void pack_panel(const ConstMatrix& b, std::int64_t begin, std::int64_t inner, std::int64_t column, std::int64_t columns,
                T* packed) {
  const auto* const source = static_cast<const T*>(b.data);
  constexpr std::int64_t width = tile_columns<T>;
  if (b.column_stride == 1) {
    pack_rows(source + begin * b.row_stride + column, b.row_stride, inner, columns, width, packed, width * group<T>);
  } else {
    pack_transposed(source + column * b.column_stride + begin, b.column_stride, inner, columns, width, packed,
                    width * group<T>);
  }
}

template <class T>
void run(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads) {
  thread_local Buffer right_buffer;
  constexpr std::int64_t width = tile_columns<T>;
  const Chunks chunks(a.columns, chunk_bytes / static_cast<std::int64_t>(sizeof(T)), 16);
  const bool narrow = c.type == DataType::bfloat16;
  // One column of panels of all chunks, and how many of them are packed at a time.
  const std::int64_t padded_inner = chunks.count * round_up(chunks.length, group<T>);
  const std::int64_t all_panels = (b.columns + width - 1) / width;
  const std::int64_t panel_bytes = padded_inner * width * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t panels_at_once = std::min(all_panels, std::max(most_packed / panel_bytes, panels_in_group));
  const std::int64_t chunk_size = round_up(chunks.length, group<T>) * width;
  const bool in_place = group<T> == 1 && b.column_stride == 1 && b.columns % lanes<T> == 0 &&
                        b.row_stride * static_cast<std::int64_t>(sizeof(T)) <= in_place_stride && a.rows <= 512;
  T* const packed =
      in_place ? nullptr : right_buffer.take<T>(padded_inner * width * std::min(panels_at_once, all_panels));
  const std::int64_t share = round_up((a.rows + threads - 1) / threads, row_granularity);

#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    thread_local Buffer left_buffer, sums_buffer;
    T* const packed_left = left_buffer.take<T>(block_rows * (chunks.length + 64));
    for (std::int64_t first = 0; first < all_panels; first += panels_at_once) {
      const std::int64_t panels = std::min(panels_at_once, all_panels - first), column = first * width;
      const std::int64_t columns = std::min(panels * width, b.columns - column);
      if (!in_place) {
#pragma omp for schedule(static)
        for (std::int64_t piece = 0; piece < panels * chunks.count; ++piece) {
          const std::int64_t chunk = piece / panels, panel = piece % panels;
          pack_panel(b, chunks.begin(chunk), chunks.extent(chunk), column + panel * width,
                     std::min(width, columns - panel * width), packed + piece * chunk_size);
        }
      }
      float* const partial =
          narrow && chunks.count > 1 ? sums_buffer.take<float>(block_rows * panels * width) : nullptr;
#pragma omp for schedule(static)
      for (int thread = 0; thread < threads; ++thread) {
        const std::int64_t end = std::min((thread + 1) * share, a.rows);
        for (std::int64_t row = thread * share; row < end; row += block_rows) {
          const std::int64_t rows = std::min(block_rows, end - row);
          const std::size_t offset = static_cast<std::size_t>(row * c.row_stride + column) * size_of(c.type);
          void* const result = static_cast<std::byte*>(c.data) + offset;
          for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
            const std::int64_t begin = chunks.begin(chunk), inner = chunks.extent(chunk);
            const Left<T> left = pack_left(a, row, rows, begin, inner, packed_left);
            Destination to{result, result, narrow, narrow, c.row_stride, c.row_stride};
            if (chunk == 0) {
              if (output == Output::overwrite) to.addend = nullptr;
            } else if (partial) {
              to.addend = partial, to.narrow_addend = false, to.addend_stride = panels * width;
            }
            if (partial && chunk + 1 < chunks.count) {
              to.target = partial, to.narrow_target = false, to.target_stride = panels * width;
            }
            for (std::int64_t panel = 0; panel < panels; panel += panels_in_group) {
              Right<T> right{packed + (chunk * panels + panel) * chunk_size, width * group<T>, chunk_size};
              if (in_place) {
                right = {static_cast<const T*>(b.data) + begin * b.row_stride + column + panel * width, b.row_stride,
                         width};
              }
              const std::int64_t some = std::min(panels_in_group * width, columns - panel * width);
              const std::int64_t units = (inner + group<T> - 1) / group<T>;
              if (left.layout == LeftLayout::rows) {
                multiply_rows<T, LeftLayout::rows>(left, rows, 0, right, units, to.at(0, panel * width), some);
              } else {
                multiply_rows<T, LeftLayout::interleaved>(left, rows, 0, right, units, to.at(0, panel * width), some);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace

bool has_instructions(DataType type) {
#if defined(__AVX512BF16__)
  return type == DataType::float32 || type == DataType::bfloat16;
#elif defined(__AVX512F__)
  return type == DataType::float32;
#else
  static_cast<void>(type);
  return false;
#endif
}

bool suits(const ConstMatrix& a, const ConstMatrix& b, int threads) {
  return a.rows >= rows_per_thread * threads && b.columns >= 16;
}

void blocked_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads) {
  if (a.type == DataType::float32) {
    run<float>(a, b, c, output, threads);
  } else {
    run<bfloat16>(a, b, c, output, threads);
  }
}

}  // namespace palimpsest::products
