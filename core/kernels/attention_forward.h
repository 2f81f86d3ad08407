// What forward of local_attention.cpp does with one span of tokens and one key/value head.
#pragma once

#include "core/kernels/attention_tiles.h"
#include "core/kernels/local_attention.h"

namespace palimpsest::attention_tiles {

/// A tile of queries after the other goes past the span's keys, block by block:
///
///   load_queries;  for each block: add_block;  store_output
///
/// Scores are computed transposed, (keys, queries): the softmax then runs in all lanes of a vector, one query each.
/// Panels of keys that none of a panel's queries see are left out.
template <class T>
class SpanForward {
 public:
  using A = accumulate_t<T>;
  static constexpr std::int64_t queries = tile;  // of a tile

  /// Bytes of scratch memory for spans that see up to `longest` keys, padded to tiles' rows.
  static std::int64_t scratch_bytes(std::int64_t longest, std::int64_t d) {
    const auto narrow = static_cast<std::int64_t>(sizeof(T)), wide = static_cast<std::int64_t>(sizeof(A));
    return (longest + 2 * tile) * row_stride<T>(d) * narrow + longest * padded_columns<T>(d) * narrow +
           tile * padded_columns<T>(d) * wide + block * tile * (wide + narrow) + 8 * 64;
  }

  SpanForward(Scratch::Taker pieces, const LocalAttentionInputs<T>& in, const Span& span)
      : in_(in),
        span_(span),
        seen_(seen_keys(in.layout, span, in.keys_in_front)),
        d_(in.query.head_size),
        stride_(row_stride<T>(d_)),
        columns_(padded_columns<T>(d_)),
        padded_(round_up(seen_.count, tile_rows)),
        scale_(A(1) / std::sqrt(static_cast<A>(d_))),
        k_(pieces.take<T>(padded_ * stride_)),
        v_(pieces.take<T>(padded_ * columns_)),
        q_(pieces.take<T>(tile * stride_)),
        q_transposed_(pieces.take<T>(tile * stride_)),
        out_(pieces.take<A>(tile * columns_)),
        scores_(pieces.take<A>(block * tile)),
        probabilities_(pieces.take<T>(block * tile)) {}

  void load_keys(std::int64_t kv_head) {
    const std::int64_t keys = seen_.count;
    load_rows(in_.key.at(seen_.row, kv_head), in_.key.stride(), keys, padded_, d_, &in_.rotary, seen_.position, k_);
    pack_rows(in_.value.at(seen_.row, kv_head), in_.value.stride(), keys, d_, columns_, v_, columns_ * group<T>);
    std::fill(v_ + round_up(keys, group<T>) * columns_, v_ + padded_ * columns_, T(0));
  }

  /// The tile of up to `tile` queries of `head` from the span's token `begin` on.
  void load_queries(std::int64_t head, std::int64_t begin) {
    begin_ = begin;
    rows_ = std::min(tile, span_.length - begin);
    panels_ = (rows_ + width - 1) / width;
    load_rows(in_.query.at(span_.begin + begin, head), in_.query.stride(), rows_, panels_ * width, d_, &in_.rotary,
              span_.position + begin, q_);
    transpose_tile(q_, panels_, d_, q_transposed_);
    softmax_ = RunningSoftmax<A>();
    std::fill_n(out_, tile * columns_, A(0));
  }

  /// Keys that the tile's queries see.
  std::int64_t keys() const { return seen_.before + begin_ + rows_; }

  /// Scores, softmax and output of keys [first, last).
  void add_block(std::int64_t first, std::int64_t last) {
    const std::int64_t diagonal = seen_.before + begin_ - first;  // the key that the tile's first query sees last
    for (std::int64_t query = 0; query < panels_ * width; query += width) {
      const std::int64_t keys = keys_of_panel<T>(diagonal, query, last - first);
      for (std::int64_t i = 0; i < keys; i += tile_rows) {
        score_panel(k_ + (first + i) * stride_, q_transposed_ + query * stride_, d_, scores_ + i * tile + query, tile);
      }
      if (keys > 0) {
        softmax_panel(scores_ + query, tile, keys, diagonal + query, scale_, softmax_.highest + query,
                      softmax_.sum + query, softmax_.factor + query, probabilities_ + query * group<T>);
      }
    }
    for (std::int64_t i = 0; i < rows_; i += tile_rows) {
      const std::int64_t keys = std::min(last - first, diagonal + i + tile_rows);
      if (keys <= 0) continue;
      add_product<T, LeftLayout::interleaved>(probabilities_ + i * group<T>, tile * group<T>, v_ + first * columns_,
                                              (keys + group<T> - 1) / group<T>, columns_, out_ + i * columns_,
                                              softmax_.factor + i);
    }
  }

  void store_output(const LocalAttentionResult<T>& result, std::int64_t head) const {
    for (std::int64_t i = 0; i < rows_; ++i) {
      const std::int64_t row = span_.begin + begin_ + i;
      T* const target = result.output.at(row, head);
      const A* const source = out_ + i * columns_;
      const A inverse = A(1) / softmax_.sum[i];
      for_each_vector<T>(
          d_, [&](std::int64_t j, auto elements) { elements.store(target + j, elements.load(source + j) * inverse); });
      if (result.log_sum_exp) {
        result.log_sum_exp[row * result.output.heads + head] = softmax_.highest[i] * scale_ + std::log(softmax_.sum[i]);
      }
    }
  }

 private:
  static constexpr std::int64_t width = tile_columns<T>;

  const LocalAttentionInputs<T>& in_;
  const Span& span_;
  SeenKeys seen_;
  std::int64_t d_, stride_, columns_, padded_;
  A scale_;
  T *k_, *v_;             // of the span: rows, and (key, d) as a right operand
  T *q_, *q_transposed_;  // of the tile: rows, and (d, query) as a right operand
  A *out_, *scores_;      // (query, d) and, of a block, (keys, queries)
  T* probabilities_;
  std::int64_t begin_ = 0, rows_ = 0, panels_ = 0;
  RunningSoftmax<A> softmax_;
};

}  // namespace palimpsest::attention_tiles
