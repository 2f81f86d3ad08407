// Causal softmax attention inside each span of a SequenceLayout: a token sees the tokens of its own
// document and segment up to itself.
//
//   S = R(Q) R(K)^T / sqrt(d),  P = softmax(S),  A_dot = P V,  R: RoPE from the segment's start
//
// A tile of queries goes past blocks of keys, the softmax's maximum and sum kept on the way (Milakov and
// Gimelshein 2018; Dao et al. 2022), so a (tokens, tokens) matrix never exists. Scores are computed transposed,
// (keys, queries): the softmax then runs in all lanes of a vector, one query each. Panels of keys that none of a
// panel's queries see are left out, so little is computed above the diagonal.
#include "core/kernels/local_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/gemm.h"
#include "core/kernels/attention_backward.h"
#include "core/kernels/attention_tiles.h"
#include "core/kernels/attention_units_backward.h"
#include "core/kernels/attention_units_forward.h"

namespace palimpsest {

using namespace attention_tiles;

namespace {

/// Calls function(span, kv_head) for each in parallel.
template <class Function>
void for_each_span_head(const SequenceLayout& layout, std::int64_t kv_heads, Function function) {
  const auto tasks = static_cast<std::int64_t>(layout.spans.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    function(layout.spans[static_cast<std::size_t>(task / kv_heads)], task % kv_heads);
  }
}

// Matrix units take bfloat16 alone: float32 would have to be split into pieces between all products.
#ifdef __AMX_BF16__

void forward_by_units(MemoryPool& pool, const SequenceLayout& layout, const HeadRows<const bfloat16>& query,
                      const HeadRows<const bfloat16>& key, const HeadRows<const bfloat16>& value,
                      const RotaryTable& table, const HeadRows<bfloat16>& output, float* log_sum_exp) {
  const std::int64_t kv_heads = key.heads, group_heads = query.heads / kv_heads;
  Scratch scratch(pool, UnitSpanForward::scratch_bytes(longest_padded_span(layout), query.head_size));
  for_each_span_head(layout, kv_heads, [&](const Span& span, std::int64_t kv_head) {
    UnitSpanForward pass(Scratch::Taker(scratch), span, table);
    pass.load_keys(key, value, kv_head);
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += unit_columns) {
        pass.load_queries(query, head, begin);
        for (std::int64_t first = 0; first < pass.keys(); first += UnitSpanForward::block) pass.add_block(first);
        pass.store_output(output, log_sum_exp, head);
      }
    }
  });
}

#endif

template <class Pass, class T>
void backward_by(MemoryPool& pool, const SequenceLayout& layout, const HeadRows<const T>& query,
                 const HeadRows<const T>& key, const HeadRows<const T>& value, const RotaryTable& table,
                 const HeadRows<const T>& output, const accumulate_t<T>* log_sum_exp, const HeadRows<const T>& d_output,
                 const HeadGradient<T>& d_query, const HeadGradient<T>& d_key, const HeadGradient<T>& d_value) {
  const std::int64_t kv_heads = key.heads, group_heads = query.heads / kv_heads;
  Scratch scratch(pool, Pass::scratch_bytes(longest_padded_span(layout), query.head_size));
  for_each_span_head(layout, kv_heads, [&](const Span& span, std::int64_t kv_head) {
    Pass pass(Scratch::Taker(scratch), span, table);
    pass.load_keys(key, value, kv_head);
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += Pass::queries) {
        pass.load_queries(query, output, d_output, log_sum_exp, head, begin);
        for (std::int64_t first = 0; first < pass.keys(); first += block) {
          const std::int64_t last = std::min(first + block, pass.keys());
          pass.score_block(first, last);
          pass.add_to_key_gradients(first, last);
          pass.add_to_query_gradients(first, last);
        }
        pass.store_query_gradients(d_query, head);
      }
    }
    pass.store_key_gradients(d_key, d_value, kv_head);
  });
}

}  // namespace

template <class T>
void local_attention_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                             HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                             HeadRows<T> output, accumulate_t<T>* log_sum_exp) {
#ifdef __AMX_BF16__
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (matmul_uses_matrix_units()) {
      return forward_by_units(pool, layout, query, key, value, table, output, log_sum_exp);
    }
  }
#endif
  using A = accumulate_t<T>;
  constexpr std::int64_t width = tile_columns<T>;
  const std::int64_t d = query.head_size, heads = query.heads, kv_heads = key.heads, group_heads = heads / kv_heads;
  const std::int64_t stride = row_stride<T>(d), columns = padded_columns<T>(d), longest = longest_padded_span(layout);
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  Scratch scratch(pool, (longest + 2 * tile) * stride * sizeof(T) + longest * columns * sizeof(T) +
                            tile * columns * sizeof(A) + block * tile * (sizeof(A) + sizeof(T)) + 8 * 64);
  for_each_span_head(layout, kv_heads, [&](const Span& span, std::int64_t kv_head) {
    const std::int64_t padded = round_up(span.length, tile_rows);
    Scratch::Taker pieces(scratch);
    T* const k = pieces.template take<T>(padded * stride);
    T* const v = pieces.template take<T>(padded * columns);
    T* const q = pieces.template take<T>(tile * stride);
    T* const q_transposed = pieces.template take<T>(tile * stride);
    A* const out = pieces.template take<A>(tile * columns);
    A* const scores = pieces.template take<A>(block * tile);
    T* const probabilities = pieces.template take<T>(block * tile);
    load_rows(key.at(span.begin, kv_head), key.stride(), span.length, padded, d, &table, span.position, k);
    pack_rows(value.at(span.begin, kv_head), value.stride(), span.length, d, columns, v, columns * group<T>);
    std::fill(v + round_up(span.length, group<T>) * columns, v + padded * columns, T(0));
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += tile) {
        const std::int64_t rows = std::min(tile, span.length - begin), row = span.begin + begin;
        const std::int64_t panels = (rows + width - 1) / width;
        load_rows(query.at(row, head), query.stride(), rows, panels * width, d, &table, span.position + begin, q);
        transpose_tile(q, panels, d, q_transposed);
        RunningSoftmax<A> softmax;
        std::fill_n(out, tile * columns, A(0));
        for (std::int64_t first = 0; first < begin + rows; first += block) {
          const std::int64_t last = std::min(first + block, begin + rows);
          for (std::int64_t j = 0; j < panels; ++j) {
            const std::int64_t from = begin + j * width;  // the panel's first query
            const std::int64_t keys = round_up(std::min(last, from + width) - first, tile_rows);
            for (std::int64_t i = 0; i < keys; i += tile_rows) {
              score_panel(k + (first + i) * stride, q_transposed + j * width * stride, d, scores + i * tile + j * width,
                          tile);
            }
            if (keys > 0) {
              softmax_panel(scores + j * width, tile, keys, from - first, scale, softmax.highest + j * width,
                            softmax.sum + j * width, softmax.factor + j * width, probabilities + j * width * group<T>);
            }
          }
          for (std::int64_t i = 0; i < rows; i += tile_rows) {
            const std::int64_t keys = std::min(last, begin + i + tile_rows) - first;
            if (keys <= 0) continue;
            add_product<T, LeftLayout::interleaved>(probabilities + i * group<T>, tile * group<T>, v + first * columns,
                                                    (keys + group<T> - 1) / group<T>, columns, out + i * columns,
                                                    softmax.factor + i);
          }
        }
        for (std::int64_t i = 0; i < rows; ++i) {
          T* const target = output.at(row + i, head);
          const A inverse = A(1) / softmax.sum[i];
#pragma omp simd
          for (std::int64_t j = 0; j < d; ++j) target[j] = static_cast<T>(out[i * columns + j] * inverse);
          if (log_sum_exp) {
            log_sum_exp[(row + i) * heads + head] = softmax.highest[i] * scale + std::log(softmax.sum[i]);
          }
        }
      }
    }
  });
}

// dV = P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O)) / sqrt(d);  dR(Q) = dS R(K);  dR(K) = dS^T R(Q)
template <class T>
void local_attention_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                              HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                              HeadRows<const T> output, const accumulate_t<T>* log_sum_exp, HeadRows<const T> d_output,
                              HeadGradient<T> d_query, HeadGradient<T> d_key, HeadGradient<T> d_value) {
#ifdef __AMX_BF16__
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (matmul_uses_matrix_units()) {
      return backward_by<UnitSpanBackward>(pool, layout, query, key, value, table, output, log_sum_exp, d_output,
                                           d_query, d_key, d_value);
    }
  }
#endif
  backward_by<SpanBackward<T>>(pool, layout, query, key, value, table, output, log_sum_exp, d_output, d_query, d_key,
                               d_value);
}

#define PALIMPSEST_INSTANTIATE(T)                                                                                     \
  template void local_attention_forward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, HeadRows<const T>,  \
                                           HeadRows<const T>, const RotaryTable&, HeadRows<T>, accumulate_t<T>*);     \
  template void local_attention_backward<T>(MemoryPool&, const SequenceLayout&, HeadRows<const T>, HeadRows<const T>, \
                                            HeadRows<const T>, const RotaryTable&, HeadRows<const T>,                 \
                                            const accumulate_t<T>*, HeadRows<const T>, HeadGradient<T>,               \
                                            HeadGradient<T>, HeadGradient<T>);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
