// What backward of local_attention.cpp does with one span of tokens and one key/value head.
#pragma once

#include "core/kernels/attention_parts.h"
#include "core/kernels/attention_tiles.h"
#include "core/kernels/local_attention.h"

namespace palimpsest::attention_tiles {

/// A tile of queries after the other goes past the keys that were loaded, block by block:
///
///   load_queries;  for each block: score_block, add_to_key_gradients, add_to_query_gradients;  store_query_gradients
///
/// Each gradient is summed in one order, whichever queries and keys a part has.
/// The operands lie as the products want them, in the calling thread's scratch memory.
template <class T>
class SpanBackward {
 public:
  using A = accumulate_t<T>;
  static constexpr std::int64_t queries = tile;            // of a tile
  static constexpr std::int64_t key_step = 2 * tile_rows;  // what the first of a part's keys is a multiple of

  /// Bytes of scratch memory for spans that see up to `longest` keys, padded to tiles' rows.
  static std::int64_t scratch_bytes(std::int64_t longest, std::int64_t d) {
    const auto narrow = static_cast<std::int64_t>(sizeof(T)), wide = static_cast<std::int64_t>(sizeof(A));
    return (2 * longest + 4 * tile) * row_stride<T>(d) * narrow + (longest + 2 * tile) * padded_columns<T>(d) * narrow +
           (2 * longest + tile) * padded_columns<T>(d) * wide + 3 * block * tile * narrow + 16 * 64;
  }

  SpanBackward(Scratch::Taker pieces, const LocalAttentionInputs<T>& in, const Span& span,
               const LocalAttentionGradients<T>& gradients)
      : in_(in),
        gradients_(gradients),
        span_(span),
        seen_(seen_keys(in.layout, span, in.keys_in_front)),
        constant_keys_(gradients.own_keys_only ? seen_.before : 0),
        d_(in.query.head_size),
        stride_(row_stride<T>(d_)),
        columns_(padded_columns<T>(d_)),
        padded_(round_up(seen_.count, tile_rows)),
        scale_(A(1) / std::sqrt(static_cast<A>(d_))),
        k_(pieces.take<T>(padded_ * stride_)),
        v_(pieces.take<T>(padded_ * stride_)),
        k_packed_(pieces.take<T>(padded_ * columns_)),
        dk_(pieces.take<A>(padded_ * columns_)),
        dv_(pieces.take<A>(padded_ * columns_)),
        q_(pieces.take<T>(tile * stride_)),
        d_out_(pieces.take<T>(tile * stride_)),
        q_transposed_(pieces.take<T>(tile * stride_)),
        d_out_transposed_(pieces.take<T>(tile * stride_)),
        q_packed_(pieces.take<T>(tile * columns_)),
        d_out_packed_(pieces.take<T>(tile * columns_)),
        dq_(pieces.take<A>(tile * columns_)),
        probabilities_(pieces.take<T>(block * tile)),
        d_scores_(pieces.take<T>(block * tile)),
        d_scores_interleaved_(pieces.take<T>(block * tile)) {
    std::fill_n(ones_, tile_rows, A(1));
  }

  /// Of the keys that the span sees [first, last).
  void load_keys(std::int64_t kv_head, std::int64_t first, std::int64_t last, Gradients gradients) {
    const std::int64_t row = seen_.row + first, keys = last - first, padded = round_up(last, tile_rows) - first;
    T* const k = k_ + first * stride_;
    load_rows(in_.key.at(row, kv_head), in_.key.stride(), keys, padded, d_, &in_.rotary, seen_.position + first, k);
    load_rows<T>(in_.value.at(row, kv_head), in_.value.stride(), keys, padded, d_, nullptr, 0, v_ + first * stride_);
    if (gradients != Gradients::of_keys) {
      pack_rows<T>(k, stride_, padded, d_, columns_, k_packed_ + first * columns_, columns_ * group<T>);
    }
    if (gradients != Gradients::of_queries) {
      std::fill_n(dk_ + first * columns_, padded * columns_, A(0));
      std::fill_n(dv_ + first * columns_, padded * columns_, A(0));
    }
  }

  /// The tile of up to `tile` queries of `head` from the span's token `begin` on.
  void load_queries(std::int64_t head, std::int64_t begin) {
    begin_ = begin;
    rows_ = std::min(tile, span_.length - begin);
    panels_ = (rows_ + width - 1) / width;
    const std::int64_t row = span_.begin + begin, padded = panels_ * width;
    const HeadRows<const T>&query = in_.query, &d_output = gradients_.d_output;
    load_rows(query.at(row, head), query.stride(), rows_, padded, d_, &in_.rotary, span_.position + begin, q_);
    load_rows<T>(d_output.at(row, head), d_output.stride(), rows_, padded, d_, nullptr, 0, d_out_);
    transpose_tile(q_, panels_, d_, q_transposed_);
    transpose_tile(d_out_, panels_, d_, d_out_transposed_);
    pack_rows<T>(q_, stride_, padded, d_, columns_, q_packed_, columns_ * group<T>);
    pack_rows<T>(d_out_, stride_, padded, d_, columns_, d_out_packed_, columns_ * group<T>);
    std::fill_n(dq_, tile * columns_, A(0));
    statistics_.load(gradients_.log_sum_exp, gradients_.output, d_output, row, rows_, head);
  }

  /// Keys that the tile's queries see.
  std::int64_t keys() const { return seen_.before + begin_ + rows_; }

  /// P and dS of the tile and keys [first, last), where a panel of queries sees any of a tile of them.
  void score_block(std::int64_t first, std::int64_t last) {
    for (std::int64_t query = 0; query < panels_ * width; query += width) {
      const std::int64_t keys = keys_of_panel<T>(diagonal(first), query, last - first);
      for (std::int64_t i = 0; i < keys; i += tile_rows) score_tile(first, i, query);
    }
  }

  /// dV += P^T dO and dK += dS^T Q: (keys, queries) as they lie, from the first query on that sees a key.
  void add_to_key_gradients(std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; i += tile_rows) {
      if (i + tile_rows <= constant_keys_) continue;
      const std::int64_t seen_from = std::max<std::int64_t>(0, -diagonal(i)) / group<T> * group<T>;
      const std::int64_t units = (rows_ - seen_from + group<T> - 1) / group<T>;
      if (units <= 0) break;
      const std::int64_t at = (i - first) * tile + seen_from, packed = seen_from * columns_;
      if (gradients_.d_value.wanted()) {
        add_product<T, LeftLayout::rows>(probabilities_ + at, tile, d_out_packed_ + packed, units, columns_,
                                         dv_ + i * columns_, ones_);
      }
      if (gradients_.d_key.wanted()) {
        add_product<T, LeftLayout::rows>(d_scores_ + at, tile, q_packed_ + packed, units, columns_, dk_ + i * columns_,
                                         ones_);
      }
    }
  }

  /// dQ += dS K, up to the last key that a query sees.
  void add_to_query_gradients(std::int64_t first, std::int64_t last) {
    const T* const d_scores = group<T> == 1 ? d_scores_ : d_scores_interleaved_;
    for (std::int64_t i = 0; i < rows_; i += tile_rows) {
      const std::int64_t seen = std::min(last - first, diagonal(first) + i + tile_rows);
      if (seen <= 0) continue;
      add_product<T, LeftLayout::interleaved>(d_scores + i * group<T>, tile * group<T>, k_packed_ + first * columns_,
                                              (seen + group<T> - 1) / group<T>, columns_, dq_ + i * columns_, ones_);
    }
  }

  void store_query_gradients(std::int64_t head) {
    rotate(dq_, columns_, dq_, columns_, rows_, span_.position + begin_, in_.rotary, true);
    store(dq_, rows_, gradients_.d_query, span_.begin + begin_, head);
  }

  /// Of the keys [begin, end).
  void store_key_gradients(std::int64_t kv_head, std::int64_t begin, std::int64_t end) {
    const std::int64_t first = std::max(begin, constant_keys_), count = end - first;
    if (count <= 0) return;
    A *const dk = dk_ + first * columns_, *const dv = dv_ + first * columns_;
    if (gradients_.d_key.wanted()) {
      rotate(dk, columns_, dk, columns_, count, seen_.position + first, in_.rotary, true);
      store(dk, count, gradients_.d_key, seen_.row + first, kv_head);
    }
    if (gradients_.d_value.wanted()) store(dv, count, gradients_.d_value, seen_.row + first, kv_head);
  }

 private:
  static constexpr std::int64_t width = tile_columns<T>;

  /// The key, counted from key `first`, that the tile's first query sees last.
  std::int64_t diagonal(std::int64_t first) const { return seen_.before + begin_ - first; }

  /// P and dS of the panel of queries from `query` on and the tile of keys that stands `i` keys into the block.
  void score_tile(std::int64_t first, std::int64_t i, std::int64_t query) {
    A p[tile_rows * width], ds[tile_rows * width];
    score_panel(k_ + (first + i) * stride_, q_transposed_ + query * stride_, d_, p, width);
    score_panel(v_ + (first + i) * stride_, d_out_transposed_ + query * stride_, d_, ds, width);
    const A *const log_sum_exp = statistics_.log_sum_exp + query, *const along = statistics_.along + query;
    const A scale = scale_;
    for (std::int64_t r = 0; r < tile_rows; ++r) {
      const auto hidden = static_cast<int>(std::min(r - diagonal(first + i) - query, width));
      A *const p_row = p + r * width, *const ds_row = ds + r * width;
      T* const probabilities = probabilities_ + (i + r) * tile + query;
      T* const d_scores = d_scores_ + (i + r) * tile + query;
#pragma omp simd
      for (int l = 0; l < static_cast<int>(width); ++l) {
        const A weight = l < hidden ? A(0) : vector_exp(p_row[l] * scale - log_sum_exp[l]);
        probabilities[l] = static_cast<T>(weight);
        ds_row[l] = weight * (ds_row[l] - along[l]) * scale;
        d_scores[l] = static_cast<T>(ds_row[l]);
      }
    }
    if constexpr (group < T >> 1) {
      for (std::int64_t r = 0; r < tile_rows; r += group<T>) {
        interleave(ds + r * width, width, d_scores_interleaved_ + (i + r) * tile + query * group<T>);
      }
    }
  }

  void store(const A* sums, std::int64_t rows, const Gradient<HeadRows<T>>& to, std::int64_t row, std::int64_t head) {
    store_rows(sums, columns_, rows, d_, to.view.at(row, head), to.view.stride(), to.accumulate);
  }

  const LocalAttentionInputs<T>& in_;
  const LocalAttentionGradients<T>& gradients_;
  const Span& span_;
  SeenKeys seen_;
  std::int64_t constant_keys_;  // of the seen ones, those in front that get no gradient
  std::int64_t d_, stride_, columns_, padded_;
  A scale_;
  // The span's keys and values, keys (key, d) as a right operand as well, and the sums of both gradients.
  T *k_, *v_, *k_packed_;
  A *dk_, *dv_;
  // The tile's queries and gradients of outputs: rows, as right operands by columns (d, query) and by rows (query, d).
  T *q_, *d_out_, *q_transposed_, *d_out_transposed_, *q_packed_, *d_out_packed_;
  A* dq_;
  T *probabilities_, *d_scores_, *d_scores_interleaved_;  // of a block: (keys, queries)
  std::int64_t begin_ = 0, rows_ = 0, panels_ = 0;
  RowStatistics<A, tile> statistics_;
  A ones_[tile_rows];  // sums only grow
};

}  // namespace palimpsest::attention_tiles
