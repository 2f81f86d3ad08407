// What forward of local_attention.cpp does with one span of tokens and one key/value head by matrix units.
#pragma once

#include "core/kernels/attention_units.h"

#ifdef __AMX_BF16__

namespace palimpsest::attention_tiles {

/// SpanForward (core/kernels/attention_forward.h) by matrix units, a panel of queries at a time.
class UnitSpanForward : UnitSpan {
 public:
  static constexpr std::int64_t queries = unit_columns;  // of a panel

  static std::int64_t scratch_bytes(std::int64_t longest, std::int64_t d) {
    const std::int64_t padded = round_up(longest, unit_rows), stride = row_stride<bfloat16>(d);
    return (3 * padded + 2 * unit_columns) * stride * 2 + 2 * unit_columns * stride * 4 + block * unit_columns * 6 +
           8 * 64;
  }

  UnitSpanForward(Scratch::Taker pieces, const LocalAttentionInputs<bfloat16>& in, const Span& span)
      : UnitSpan(in, span),
        k_(pieces.take<bfloat16>(padded_ * stride_)),
        v_(pieces.take<bfloat16>(padded_ * stride_)),
        v_transposed_(pieces.take<bfloat16>(padded_ * stride_)),
        q_(pieces.take<bfloat16>(unit_columns * stride_)),
        q_panel_(pieces.take<bfloat16>(unit_columns * stride_)),
        out_(pieces.take<float>(unit_columns * stride_)),
        out_rows_(pieces.take<float>(unit_columns * stride_)),
        scores_(pieces.take<float>(block * unit_columns)),
        probabilities_(pieces.take<bfloat16>(block * unit_columns)) {}

  void load_keys(std::int64_t kv_head) {
    load_rows_of_keys(in_.key, 0, kv_head, seen_.count, padded_, true, k_);
    load_rows_of_keys(in_.value, 0, kv_head, seen_.count, padded_, false, v_);
    pack_unit_rows_transposed(v_, stride_, stride_, padded_, v_transposed_);
  }

  /// Up to 32 queries of `head` from the span's token `begin` on.
  void load_queries(std::int64_t head, std::int64_t begin) {
    begin_ = begin;
    rows_ = std::min(unit_columns, span_.length - begin);
    load_rows_of_queries(in_.query, begin, head, rows_, unit_columns, true, q_);
    panels_of(q_, unit_columns, q_panel_);
    softmax_ = RunningSoftmax<float>();
    std::fill_n(out_, unit_columns * stride_, 0.0f);
  }

  /// Keys that the queries see.
  std::int64_t keys() const { return seen_.before + begin_ + rows_; }

  /// Scores, softmax and output of keys [first, last).
  void add_block(std::int64_t first, std::int64_t last) {
    const std::int64_t keys = round_up(last - first, unit_rows);
    for (std::int64_t i = 0; i < keys; i += unit_rows) {
      multiply_units<bfloat16>(k_ + (first + i) * stride_, stride_, q_panel_, units(), scores_ + i * unit_columns,
                               false);
    }
    softmax_panel(scores_, unit_columns, keys, seen_.before + begin_ - first, scale_, softmax_.highest, softmax_.sum,
                  softmax_.factor, probabilities_);
    for (std::int64_t unit = 0; unit < units(); ++unit) {
      float* const sums = out_ + unit * unit_size;
      for (std::int64_t i = 0; i < unit_rows; ++i) {
#pragma omp simd
        for (std::int64_t l = 0; l < unit_columns; ++l) sums[i * unit_columns + l] *= softmax_.factor[l];
      }
      multiply_units<bfloat16>(v_transposed_ + unit * unit_rows * padded_ + first, padded_, probabilities_,
                               keys / unit_inner, sums, true);
    }
  }

  void store_output(const LocalAttentionResult<bfloat16>& result, std::int64_t head) {
    for (std::int64_t unit = 0; unit < units(); ++unit) {
      transpose_unit(out_ + unit * unit_size, out_rows_ + unit * unit_rows, stride_);
    }
    for (std::int64_t i = 0; i < rows_; ++i) {
      const std::int64_t row = span_.begin + begin_ + i;
      bfloat16* const target = result.output.at(row, head);
      const float* const source = out_rows_ + i * stride_;
      const float inverse = 1.0f / softmax_.sum[i];
      for_each_vector<bfloat16>(
          d_, [&](std::int64_t j, auto elements) { elements.store(target + j, elements.load(source + j) * inverse); });
      if (result.log_sum_exp) {
        result.log_sum_exp[row * result.output.heads + head] = softmax_.highest[i] * scale_ + std::log(softmax_.sum[i]);
      }
    }
  }

 private:
  bfloat16 *k_, *v_, *v_transposed_;  // of the span, v_transposed (d, keys)
  bfloat16 *q_, *q_panel_;
  float *out_, *out_rows_;  // (d, queries) in units, and as rows
  float* scores_;           // (keys, queries)
  bfloat16* probabilities_;
  RunningSoftmax<float> softmax_;
  std::int64_t begin_ = 0, rows_ = 0;
};

}  // namespace palimpsest::attention_tiles

#endif
