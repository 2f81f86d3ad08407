// What backward of local_attention.cpp does with one span of tokens and one key/value head by matrix units.
#pragma once

#include <cassert>

#include "core/kernels/attention_parts.h"
#include "core/kernels/attention_units.h"
#include "core/kernels/local_attention.h"

#ifdef __AMX_BF16__

namespace palimpsest::attention_tiles {

/// SpanBackward (core/kernels/attention_backward.h) by matrix units.
class UnitSpanBackward : UnitSpan {
 public:
  static constexpr std::int64_t queries = 128;  // of a tile
  static constexpr std::int64_t key_step = unit_rows;

  static std::int64_t scratch_bytes(std::int64_t longest, std::int64_t d) {
    const std::int64_t padded = round_up(longest, unit_rows), stride = row_stride<bfloat16>(d);
    return (3 * padded + 6 * queries) * stride * 2 + (3 * padded + 2 * queries) * stride * 4 +
           3 * attention_tiles::block * queries * 2 + 17 * 64;
  }

  UnitSpanBackward(Scratch::Taker pieces, const LocalAttentionInputs<bfloat16>& in, const Span& span,
                   const LocalAttentionGradients<bfloat16>& gradients)
      : UnitSpan(in, span),
        gradients_(gradients),
        constant_keys_(gradients.own_keys_only ? seen_.before : 0),
        k_(pieces.take<bfloat16>(padded_ * stride_)),
        v_(pieces.take<bfloat16>(padded_ * stride_)),
        k_transposed_(pieces.take<bfloat16>(padded_ * stride_)),
        dk_(pieces.take<float>(padded_ * stride_)),
        dv_(pieces.take<float>(padded_ * stride_)),
        rows_of_sums_(pieces.take<float>(std::max(padded_, queries) * stride_)),
        q_(pieces.take<bfloat16>(queries * stride_)),
        d_out_(pieces.take<bfloat16>(queries * stride_)),
        q_panels_(pieces.take<bfloat16>(queries * stride_)),
        d_out_panels_(pieces.take<bfloat16>(queries * stride_)),
        q_by_rows_(pieces.take<bfloat16>(queries * stride_)),
        d_out_by_rows_(pieces.take<bfloat16>(queries * stride_)),
        dq_(pieces.take<float>(queries * stride_)),
        probabilities_(pieces.take<bfloat16>(attention_tiles::block * queries)),
        d_scores_(pieces.take<bfloat16>(attention_tiles::block * queries)),
        d_scores_panels_(pieces.take<bfloat16>(attention_tiles::block * queries)) {}

  /// Keys [first, last), for gradients of queries all from the first on.
  void load_keys(std::int64_t kv_head, std::int64_t first, std::int64_t last, Gradients gradients) {
    const std::int64_t keys = last - first, padded = round_up(last, unit_rows) - first;
    load_rows_of_keys(in_.key, first, kv_head, keys, padded, true, k_ + first * stride_);
    load_rows_of_keys(in_.value, first, kv_head, keys, padded, false, v_ + first * stride_);
    if (gradients != Gradients::of_keys) {
      assert(first == 0 && padded == padded_);
      pack_unit_rows_transposed(k_, stride_, stride_, padded_, k_transposed_);
    }
    if (gradients != Gradients::of_queries) {
      std::fill_n(dk_ + first * stride_, padded * stride_, 0.0f);
      std::fill_n(dv_ + first * stride_, padded * stride_, 0.0f);
    }
  }

  void load_queries(std::int64_t head, std::int64_t begin) {
    begin_ = begin;
    rows_ = std::min(queries, span_.length - begin);
    padded_rows_ = round_up(rows_, unit_columns);
    load_rows_of_queries(in_.query, begin, head, rows_, padded_rows_, true, q_);
    load_rows_of_queries(gradients_.d_output, begin, head, rows_, padded_rows_, false, d_out_);
    panels_of(q_, padded_rows_, q_panels_);
    panels_of(d_out_, padded_rows_, d_out_panels_);
    for (std::int64_t unit = 0; unit < units(); ++unit) {
      pack_unit_panel(q_ + unit * unit_columns, stride_, padded_rows_, unit_columns, by_rows(q_by_rows_, unit, 0));
      pack_unit_panel(d_out_ + unit * unit_columns, stride_, padded_rows_, unit_columns,
                      by_rows(d_out_by_rows_, unit, 0));
    }
    std::fill_n(dq_, queries * stride_, 0.0f);
    statistics_.load(gradients_.log_sum_exp, gradients_.output, gradients_.d_output, span_.begin + begin, rows_, head);
  }

  std::int64_t keys() const { return seen_.before + begin_ + rows_; }

  /// P and dS of the tile and keys [first, last), where a panel of queries sees any of a unit of them.
  void score_block(std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; i += unit_rows) {
      for (std::int64_t query = first_query(i); query < padded_rows_; query += unit_columns) score(first, i, query);
    }
  }

  /// dV += P^T dO and dK += dS^T Q, from the first panel of queries on that sees a key.
  void add_to_key_gradients(std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; i += unit_rows) {
      if (i + unit_rows <= constant_keys_) continue;
      const std::int64_t from = first_query(i), at = (i - first) * queries + from;
      const std::int64_t steps = (padded_rows_ - from) / unit_inner;
      for (std::int64_t unit = 0; unit < units(); ++unit) {
        const std::int64_t sums = (i / unit_rows * units() + unit) * unit_size;
        if (gradients_.d_value.wanted()) {
          multiply_units<bfloat16>(probabilities_ + at, queries, by_rows(d_out_by_rows_, unit, from), steps, dv_ + sums,
                                   true);
        }
        if (gradients_.d_key.wanted()) {
          multiply_units<bfloat16>(d_scores_ + at, queries, by_rows(q_by_rows_, unit, from), steps, dk_ + sums, true);
        }
      }
    }
  }

  /// dQ^T += K^T dS^T, up to the last unit of keys that a panel of queries sees.
  void add_to_query_gradients(std::int64_t first, std::int64_t last) {
    for (std::int64_t query = 0; query < padded_rows_; query += unit_columns) {
      const std::int64_t steps =
          round_up(std::min(last, last_key(query) + unit_columns) - first, unit_inner) / unit_inner;
      if (steps <= 0) continue;
      for (std::int64_t unit = 0; unit < units(); ++unit) {
        multiply_units<bfloat16>(k_transposed_ + unit * unit_rows * padded_ + first, padded_,
                                 d_scores_panels_ + query * attention_tiles::block, steps,
                                 dq_ + (query / unit_columns * units() + unit) * unit_size, true);
      }
    }
  }

  void store_query_gradients(std::int64_t head) {
    for (std::int64_t query = 0; query < padded_rows_; query += unit_columns) {
      for (std::int64_t unit = 0; unit < units(); ++unit) {
        transpose_unit(dq_ + (query / unit_columns * units() + unit) * unit_size,
                       rows_of_sums_ + query * stride_ + unit * unit_columns, stride_);
      }
    }
    rotate(rows_of_sums_, stride_, rows_of_sums_, stride_, rows_, span_.position + begin_, in_.rotary, true);
    store(rows_of_sums_, rows_, gradients_.d_query, span_.begin + begin_, head);
  }

  /// Of the keys [begin, last).
  void store_key_gradients(std::int64_t kv_head, std::int64_t begin, std::int64_t last) {
    const std::int64_t first = std::max(begin, constant_keys_);
    if (first >= last) return;
    float* const rows = rows_of_sums_ + first * stride_;
    if (gradients_.d_key.wanted()) {
      rows_of(dk_, first, last);
      rotate(rows, stride_, rows, stride_, last - first, seen_.position + first, in_.rotary, true);
      store(rows, last - first, gradients_.d_key, seen_.row + first, kv_head);
    }
    if (gradients_.d_value.wanted()) {
      rows_of(dv_, first, last);
      store(rows, last - first, gradients_.d_value, seen_.row + first, kv_head);
    }
  }

 private:
  /// The last key that the tile's query `query` sees.
  std::int64_t last_key(std::int64_t query) const { return seen_.before + begin_ + query; }

  /// The tile's first query of a panel that sees key `key`.
  std::int64_t first_query(std::int64_t key) const {
    return std::max<std::int64_t>(0, key - last_key(0)) / unit_columns * unit_columns;
  }

  /// Columns [32 unit, ...) of an operand of queries by rows, from query `query` (a multiple of 32) on.
  static bfloat16* by_rows(bfloat16* operand, std::int64_t unit, std::int64_t query) {
    return operand + (unit * queries + query) * unit_columns;
  }

  /// P and dS of the unit of keys from `key` on and the panel of the tile's queries from `query` on.
  void score(std::int64_t first, std::int64_t key, std::int64_t query) {
    alignas(64) float p[unit_size], ds[unit_size];
    multiply_units<bfloat16>(k_ + key * stride_, stride_, q_panels_ + query * stride_, units(), p, false);
    multiply_units<bfloat16>(v_ + key * stride_, stride_, d_out_panels_ + query * stride_, units(), ds, false);
    const float *const log_sum_exp = statistics_.log_sum_exp + query, *const along = statistics_.along + query;
    const float scale = scale_;
    bfloat16* const panel = d_scores_panels_ + query * attention_tiles::block + (key - first) * unit_columns;
    for (std::int64_t l = 0; l < unit_columns; l += vector_lanes<float>) {
      const Vector<float> log_sum = load_sums(log_sum_exp + l), with_output = load_sums(along + l);
      Vector<std::int32_t> seen_by;  // the last of the unit's keys that each query sees
      for (int lane = 0; lane < vector_lanes<float>; ++lane) {
        seen_by[lane] = static_cast<std::int32_t>(last_key(query + l + lane) - key);
      }
      const auto row = [&](std::int64_t r) {
        const std::int64_t at = r * unit_columns + l, to = (key - first + r) * queries + query + l;
        const Vector<float> all = exponential<bfloat16>(load_sums(p + at) * scale - log_sum);
        const Vector<float> weight = seen_by < static_cast<std::int32_t>(r) ? Vector<float>{} : all;
        const Vector<float> d_score = weight * (load_sums(ds + at) - with_output) * scale;
        store_sums(probabilities_ + to, weight);
        store_sums(d_scores_ + to, d_score);
        return d_score;
      };
      for (std::int64_t r = 0; r < unit_rows; r += 2) {
        const Vector<float> even = row(r), odd = row(r + 1);
        store_pairs(panel + r * unit_columns + 2 * l, even, odd);
      }
    }
  }

  /// Rows of sums of the keys [first, last) that lie in units.
  void rows_of(const float* sums, std::int64_t first, std::int64_t last) {
    for (std::int64_t key = first; key < last; ++key) {
      for (std::int64_t unit = 0; unit < units(); ++unit) {
        const float* const from =
            sums + (key / unit_rows * units() + unit) * unit_size + key % unit_rows * unit_columns;
        std::copy_n(from, unit_columns, rows_of_sums_ + key * stride_ + unit * unit_columns);
      }
    }
  }

  void store(const float* sums, std::int64_t rows, const Gradient<HeadRows<bfloat16>>& to, std::int64_t row,
             std::int64_t head) const {
    store_rows(sums, stride_, rows, d_, to.view.at(row, head), to.view.stride(), to.accumulate);
  }

  const LocalAttentionGradients<bfloat16>& gradients_;
  std::int64_t constant_keys_;        // of the seen ones, those in front that get no gradient
  bfloat16 *k_, *v_, *k_transposed_;  // of the span, k_transposed (d, keys)
  float *dk_, *dv_;                   // (keys, d) in units
  float* rows_of_sums_;
  bfloat16 *q_, *d_out_, *q_panels_, *d_out_panels_;  // of the tile: rows, and (d, queries) in panels
  bfloat16 *q_by_rows_, *d_out_by_rows_;              // (queries, d) in panels
  float* dq_;                                         // (d, queries) in units, panel after panel
  bfloat16 *probabilities_, *d_scores_;               // of a block: (keys, queries)
  bfloat16* d_scores_panels_;                         // (keys, queries) in panels
  std::int64_t begin_ = 0, rows_ = 0, padded_rows_ = 0;
  RowStatistics<float, queries> statistics_;
};

}  // namespace palimpsest::attention_tiles

#endif
