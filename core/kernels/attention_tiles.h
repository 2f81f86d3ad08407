// What both directions of local_attention.cpp do with a tile of queries and a block of keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include <omp.h>

#include "core/kernels/head_rows.h"
#include "core/kernels/rope.h"
#include "core/kernels/vector_loops.h"
#include "core/products/micro_kernel.h"
#include "core/products/packing.h"
#include "core/sequence_layout.h"

namespace palimpsest::attention_tiles {

using namespace products;
using namespace vector_loops;

/// Queries of a tile and keys of a block: multiples of the micro-kernel's rows and columns, blocks of tiles.
constexpr std::int64_t tile = 96, block = 192;
static_assert(tile % tile_rows == 0 && tile % tile_columns<float> == 0 && block % tile == 0);

/// The keys that a span's queries see: query i of the span keys 0 ... before + i.
struct SeenKeys {
  std::int64_t row = 0;  // of the first of them among all keys
  std::int64_t count = 0;
  std::int64_t before = 0;    // those in front of the span's own
  std::int64_t position = 0;  // RoPE position of the first
};

inline SeenKeys seen_keys(const SequenceLayout& layout, const Span& span, std::int64_t keys_in_front) {
  const std::int64_t own = span.begin + (span.begin / layout.tokens + 1) * keys_in_front, before = span.keys_before;
  return {own - before, before + span.length, before, span.position - before};
}

/// The most keys that a span sees, padded to tiles' rows.
inline std::int64_t most_keys(const SequenceLayout& layout) {
  std::int64_t most = 0;
  for (const Span& span : layout.spans) most = std::max(most, span.keys_before + span.length);
  return round_up(most, tile_rows);
}

/// How many of a block's `keys` are computed for the panel of queries from the tile's query `query` on, where query 0
/// sees the block's keys up to `diagonal`: all that its queries see, and those that share a tile of rows with it.
template <class T>
std::int64_t keys_of_panel(std::int64_t diagonal, std::int64_t query, std::int64_t keys) {
  return round_up(std::min(keys, diagonal + round_up(query + tile_columns<T>, tile_rows)), tile_rows);
}

/// Elements between the rows of operands that are multiplied along them or transposed, and the columns of
/// packed operands and sums.
template <class T>
std::int64_t row_stride(std::int64_t d) {
  return round_up(d, vector_lanes<T> * group<T>);
}
template <class T>
std::int64_t padded_columns(std::int64_t d) {
  return round_up(d, vector_lanes<T>);
}

/// One stretch of scratch memory per thread, handed out piece by piece.
class Scratch {
 public:
  Scratch(MemoryPool& pool, std::int64_t bytes_per_thread)
      : bytes_(round_up(bytes_per_thread, 64)),
        storage_(pool.allocate(static_cast<std::size_t>(bytes_ * omp_get_max_threads()))) {}

  /// Takes pieces for the calling thread from the start of its stretch.
  class Taker {
   public:
    explicit Taker(Scratch& scratch) : next_(scratch.storage_.get() + omp_get_thread_num() * scratch.bytes_) {}
    template <class T>
    T* take(std::int64_t elements) {
      auto* piece = reinterpret_cast<T*>(next_);
      next_ += round_up(elements * static_cast<std::int64_t>(sizeof(T)), 64);
      return piece;
    }

   private:
    std::byte* next_;
  };

 private:
  std::int64_t bytes_;
  std::shared_ptr<std::byte> storage_;
};

/// Rows of a head, rotated if there is a table, and zeros up to `padded` rows.
template <class T>
void load_rows(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t padded, std::int64_t d,
               const RotaryTable* table, std::int64_t position, T* target) {
  const std::int64_t target_stride = row_stride<T>(d);
  if (table) {
    rotate(source, stride, target, target_stride, rows, position, *table, false);
  } else {
    for (std::int64_t i = 0; i < rows; ++i) {
      prefetch_row(source + (i + rows_ahead) * stride, d);
      std::copy_n(source + i * stride, d, target + i * target_stride);
    }
  }
  std::fill(target + rows * target_stride, target + padded * target_stride, T(0));
}

/// The rows of a tile as panels of columns of a right operand, one panel of queries after the other.
template <class T>
void transpose_tile(const T* rows, std::int64_t panels, std::int64_t d, T* target) {
  constexpr std::int64_t width = tile_columns<T>;
  const std::int64_t stride = row_stride<T>(d);
  for (std::int64_t j = 0; j < panels; ++j) {
    pack_transposed(rows + j * width * stride, stride, stride, width, width, target + j * width * stride,
                    width * group<T>);
  }
}

/// scores (tile_rows, columns of a panel), `stride` apart, <- rows of the left operand times a panel.
template <class T>
[[gnu::noinline]] void score_panel(const T* left, const T* right, std::int64_t d, accumulate_t<T>* scores,
                                   std::int64_t stride) {
  Vector<accumulate_t<T>> sums[tile_rows][tile_vectors];
  multiply<T, LeftLayout::rows>(left, row_stride<T>(d), right, tile_columns<T> * group<T>, d / group<T>, sums);
#pragma GCC unroll 12
  for (int i = 0; i < tile_rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < tile_vectors; ++j) store_sums(scores + i * stride + j * vector_lanes<T>, sums[i][j]);
  }
}

template <class T, LeftLayout layout, int vectors>
[[gnu::noinline]] void add_panel(const T* left, std::int64_t left_stride, const T* right, std::int64_t right_stride,
                                 std::int64_t units, accumulate_t<T>* target, std::int64_t stride,
                                 const accumulate_t<T>* factors) {
  Vector<accumulate_t<T>> sums[tile_rows][vectors];
  multiply<T, layout>(left, left_stride, right, right_stride, units, sums);
#pragma GCC unroll 12
  for (int i = 0; i < tile_rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < vectors; ++j) {
      accumulate_t<T>* const to = target + i * stride + j * vector_lanes<T>;
      store_sums(to, load_sums(to) * factors[i] + sums[i][j]);
    }
  }
}

/// target (tile_rows, columns) <- factors, one a row, times target + left times right, (units, columns) packed.
template <class T, LeftLayout layout>
void add_product(const T* left, std::int64_t left_stride, const T* right, std::int64_t units, std::int64_t columns,
                 accumulate_t<T>* target, const accumulate_t<T>* factors) {
  std::int64_t j = 0;
  for (; j + tile_columns<T> <= columns; j += tile_columns<T>) {
    add_panel<T, layout, tile_vectors>(left, left_stride, right + j * group<T>, columns * group<T>, units, target + j,
                                       columns, factors);
  }
  for (; j < columns; j += vector_lanes<T>) {
    add_panel<T, layout, 1>(left, left_stride, right + j * group<T>, columns * group<T>, units, target + j, columns,
                            factors);
  }
}

/// Two rows of a panel's probabilities, a vector of each, side by side as a vector of units.
inline void store_pairs(bfloat16* target, const Vector<float>& even, const Vector<float>& odd) {
  bfloat16 rows[2][vector_lanes<bfloat16>];
  store_sums(rows[0], even);
  store_sums(rows[1], odd);
#pragma omp simd
  for (std::int64_t l = 0; l < vector_lanes<bfloat16>; ++l) {
    const std::uint32_t pair = rows[0][l].bits | static_cast<std::uint32_t>(rows[1][l].bits) << 16;
    store(target + 2 * l, pair);
  }
}

/// group<T> rows of a panel's probabilities, `stride` apart, as a row of units.
template <class T, class A>
inline void interleave(const A* rows, std::int64_t stride, T* target) {
  constexpr std::int64_t width = tile_columns<T>;
  if constexpr (group<T> == 1) {
    std::copy_n(rows, width, target);
  } else {
    for (std::int64_t l = 0; l < width; l += vector_lanes<T>) {
      store_pairs(target + group<T> * l, load_sums(rows + l), load_sums(rows + stride + l));
    }
  }
}

/// The softmax of a tile of queries on its way past the blocks of keys.
template <class A>
struct RunningSoftmax {
  A highest[tile], sum[tile], factor[tile];  // of unscaled scores; what a block makes of the sums before it

  RunningSoftmax() {
    std::fill_n(highest, tile, -std::numeric_limits<A>::infinity());
    std::fill_n(sum, tile, A(0));
    std::fill_n(factor, tile, A(1));
  }
};

/// What backward needs to know of each query of a tile: its log_sum_exp, and along, the sum of dO O.
template <class A, std::int64_t queries>
struct RowStatistics {
  A log_sum_exp[queries], along[queries];

  /// Of `rows` queries of `head` from token `row` on. Rows that only fill up the tile get probabilities of zero.
  template <class T>
  void load(const A* all, const HeadRows<const T>& output, const HeadRows<const T>& d_output, std::int64_t row,
            std::int64_t rows, std::int64_t head) {
    std::fill_n(log_sum_exp, queries, std::numeric_limits<A>::infinity());
    std::fill_n(along, queries, A(0));
    for (std::int64_t i = 0; i < rows; ++i) {
      log_sum_exp[i] = all[(row + i) * output.heads + head];
      const T *const out = output.at(row + i, head), *const d_out = d_output.at(row + i, head);
      prefetch_row(out + rows_ahead * output.stride(), output.head_size);
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t j = 0; j < output.head_size; ++j) sum += static_cast<A>(out[j]) * static_cast<A>(d_out[j]);
      along[i] = sum;
    }
  }
};

/// scores (keys, stride) of one panel of queries -> probabilities (keys / group, stride, group), up to their sum.
/// Query l of the panel sees the keys up to diagonal + l.
template <class T, class A>
void softmax_panel(A* scores, std::int64_t stride, std::int64_t keys, std::int64_t diagonal, A scale, A* highest,
                   A* sum, A* factor, T* probabilities) {
  constexpr std::int64_t width = tile_columns<T>, step = vector_lanes<T>;
  for (std::int64_t key = std::max<std::int64_t>(diagonal + 1, 0); key < keys; ++key) {
    std::fill_n(scores + key * stride, std::min(key - diagonal, width), -std::numeric_limits<A>::infinity());
  }
  for (std::int64_t l = 0; l < width; l += step) {
    const Lanes<T> before = load_sums(highest + l);
    Lanes<T> most = before;
    for (std::int64_t key = 0; key < keys; ++key) {
      const Lanes<T> row = load_sums(scores + key * stride + l);
      most = row > most ? row : most;
    }
    // Exactly 1 where nothing grows: how many blocks of masked keys there are depends on the number of threads.
    const Lanes<T> shrinking = most > before ? exponential<T>((before - most) * scale) : Lanes<T>{} + 1;
    Lanes<T> total = load_sums(sum + l) * shrinking;
    const auto weight = [&](std::int64_t key) {
      const Lanes<T> exponentials = exponential<T>((load_sums(scores + key * stride + l) - most) * scale);
      total += exponentials;
      return exponentials;
    };
    for (std::int64_t key = 0; key < keys; key += group<T>) {
      T* const target = probabilities + key * stride + l * group<T>;
      if constexpr (group<T> == 1) {
        store_sums(target, weight(key));
      } else {
        const Lanes<T> even = weight(key), odd = weight(key + 1);
        store_pairs(target, even, odd);
      }
    }
    store_sums(factor + l, shrinking);
    store_sums(sum + l, total);
    store_sums(highest + l, most);
  }
}

/// target (rows, stride) gets source (rows, source_stride), added or written.
template <class T, class A>
void store_rows(const A* source, std::int64_t source_stride, std::int64_t rows, std::int64_t d, T* target,
                std::int64_t stride, bool accumulate) {
  for (std::int64_t i = 0; i < rows; ++i) {
    prefetch_row(target + (i + rows_ahead) * stride, d);
    for_each_vector<T>(d, [&](std::int64_t j, auto elements) {
      const Lanes<T> value = elements.load(source + i * source_stride + j);
      T* const to = target + i * stride + j;
      elements.store(to, accumulate ? elements.load(to) + value : value);
    });
  }
}

}  // namespace palimpsest::attention_tiles
