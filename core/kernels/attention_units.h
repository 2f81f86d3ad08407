// Local attention of bfloat16 by matrix units (core/products/matrix_units.h): what local_attention.cpp does with one
// span of tokens and one key/value head. Everything between products is transposed, a column a query: units of scores
// are (keys, queries), those of outputs and of the gradients of queries (d, queries). Units of keys are counted from
// the first key on that the span sees.
#pragma once

#include "core/kernels/attention_tiles.h"
#include "core/kernels/local_attention.h"
#include "core/products/matrix_units.h"
#include "core/products/unit_packing.h"

#ifdef __AMX_BF16__

namespace palimpsest::attention_tiles {

inline constexpr std::int64_t unit_size = unit_rows * unit_columns;
static_assert(block % unit_rows == 0 && unit_columns == tile_columns<bfloat16>);

/// What both directions keep of a span, and how a head's rows become operands.
class UnitSpan {
 protected:
  UnitSpan(const LocalAttentionInputs<bfloat16>& in, const Span& span)
      : in_(in),
        span_(span),
        seen_(seen_keys(in.layout, span, in.keys_in_front)),
        d_(in.query.head_size),
        stride_(row_stride<bfloat16>(d_)),
        padded_(round_up(seen_.count, unit_rows)),
        scale_(1.0f / std::sqrt(static_cast<float>(d_))) {}

  std::int64_t units() const { return stride_ / unit_rows; }  // of a head's size

  /// Of the span's tokens from `token` on.
  void load_rows_of_queries(const HeadRows<const bfloat16>& source, std::int64_t token, std::int64_t head,
                            std::int64_t rows, std::int64_t padded, bool rotated, bfloat16* target) const {
    load(source.at(span_.begin + token, head), source.stride(), rows, padded, rotated, span_.position + token, target);
  }

  /// Of the keys or values that the span sees from `key` on.
  void load_rows_of_keys(const HeadRows<const bfloat16>& source, std::int64_t key, std::int64_t head, std::int64_t rows,
                         std::int64_t padded, bool rotated, bfloat16* target) const {
    load(source.at(seen_.row + key, head), source.stride(), rows, padded, rotated, seen_.position + key, target);
  }

  /// target (queries / 32) panels <- rows (queries, d).
  void panels_of(const bfloat16* rows, std::int64_t queries, bfloat16* target) const {
    for (std::int64_t i = 0; i < queries; i += unit_columns) {
      pack_unit_panel_transposed(rows + i * stride_, stride_, stride_, unit_columns, target + i * stride_);
    }
  }

  /// target (columns / 16 * 16, stride) <- a unit (rows, columns) transposed.
  static void transpose_unit(const float* unit, float* target, std::int64_t stride) {
    constexpr std::int64_t n = vector_lanes<float>, wide = sizeof(float);
    for (std::int64_t i = 0; i < unit_rows; i += n) {
      for (std::int64_t j = 0; j < unit_columns; j += n) {
        transpose_square<float>(unit + i * unit_columns + j, unit_columns * wide, target + j * stride + i,
                                stride * wide);
      }
    }
  }

  const LocalAttentionInputs<bfloat16>& in_;
  const Span& span_;
  SeenKeys seen_;
  std::int64_t d_, stride_, padded_;  // stride: d in whole steps
  float scale_;

 private:
  void load(const bfloat16* source, std::int64_t source_stride, std::int64_t rows, std::int64_t padded, bool rotated,
            std::int64_t position, bfloat16* target) const {
    load_rows(source, source_stride, rows, padded, d_, rotated ? &in_.rotary : nullptr, position, target);
    for (std::int64_t i = 0; stride_ > d_ && i < rows; ++i) std::fill_n(target + i * stride_ + d_, stride_ - d_, 0.0f);
  }

  const TileRegisters registers_;
};

}  // namespace palimpsest::attention_tiles

#endif
