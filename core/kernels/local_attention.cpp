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

#include "core/kernels/attention_tiles.h"

namespace palimpsest {

using namespace attention_tiles;

template <class T>
void local_attention_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                             HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                             HeadRows<T> output, accumulate_t<T>* log_sum_exp) {
  using A = accumulate_t<T>;
  constexpr std::int64_t width = tile_columns<T>;
  const std::int64_t d = query.head_size, heads = query.heads, kv_heads = key.heads, group_heads = heads / kv_heads;
  const std::int64_t stride = row_stride<T>(d), columns = padded_columns<T>(d), longest = longest_padded_span(layout);
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  Scratch scratch(pool, (longest + 2 * tile) * stride * sizeof(T) + longest * columns * sizeof(T) +
                            tile * columns * sizeof(A) + block * tile * (sizeof(A) + sizeof(T)) + 8 * 64);
  const auto tasks = static_cast<std::int64_t>(layout.spans.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const Span& span = layout.spans[static_cast<std::size_t>(task / kv_heads)];
    const std::int64_t kv_head = task % kv_heads, padded = round_up(span.length, tile_rows);
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
              softmax_panel(scores + j * width, keys, from - first, scale, softmax.highest + j * width,
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
  }
}

// dV = P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O)) / sqrt(d);  dR(Q) = dS R(K);  dR(K) = dS^T R(Q)
template <class T>
void local_attention_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                              HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                              HeadRows<const T> output, const accumulate_t<T>* log_sum_exp, HeadRows<const T> d_output,
                              HeadGradient<T> d_query, HeadGradient<T> d_key, HeadGradient<T> d_value) {
  using A = accumulate_t<T>;
  constexpr std::int64_t width = tile_columns<T>;
  const std::int64_t d = query.head_size, heads = query.heads, kv_heads = key.heads, group_heads = heads / kv_heads;
  const std::int64_t stride = row_stride<T>(d), columns = padded_columns<T>(d), longest = longest_padded_span(layout);
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  Scratch scratch(pool, (2 * longest + 4 * tile) * stride * sizeof(T) + (longest + 2 * tile) * columns * sizeof(T) +
                            (2 * longest + tile) * columns * sizeof(A) + 3 * block * tile * sizeof(T) + 16 * 64);
  A ones[tile_rows];  // sums only grow
  std::fill_n(ones, tile_rows, A(1));
  const auto tasks = static_cast<std::int64_t>(layout.spans.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const Span& span = layout.spans[static_cast<std::size_t>(task / kv_heads)];
    const std::int64_t kv_head = task % kv_heads, padded = round_up(span.length, tile_rows);
    Scratch::Taker pieces(scratch);
    T* const k = pieces.template take<T>(padded * stride);
    T* const v = pieces.template take<T>(padded * stride);
    T* const k_packed = pieces.template take<T>(padded * columns);
    A* const dk = pieces.template take<A>(padded * columns);
    A* const dv = pieces.template take<A>(padded * columns);
    T* const q = pieces.template take<T>(tile * stride);
    T* const d_out = pieces.template take<T>(tile * stride);
    T* const q_transposed = pieces.template take<T>(tile * stride);
    T* const d_out_transposed = pieces.template take<T>(tile * stride);
    T* const q_packed = pieces.template take<T>(tile * columns);
    T* const d_out_packed = pieces.template take<T>(tile * columns);
    A* const dq = pieces.template take<A>(tile * columns);
    T* const probabilities = pieces.template take<T>(block * tile);  // (keys, queries)
    T* const d_scores = pieces.template take<T>(block * tile);
    T* const d_scores_interleaved = pieces.template take<T>(block * tile);
    load_rows(key.at(span.begin, kv_head), key.stride(), span.length, padded, d, &table, span.position, k);
    load_rows<T>(value.at(span.begin, kv_head), value.stride(), span.length, padded, d, nullptr, 0, v);
    pack_rows<T>(k, stride, padded, d, columns, k_packed, columns * group<T>);
    std::fill(dk, dk + padded * columns, A(0));
    std::fill(dv, dv + padded * columns, A(0));
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += tile) {
        const std::int64_t rows = std::min(tile, span.length - begin), row = span.begin + begin;
        const std::int64_t panels = (rows + width - 1) / width, padded_rows = panels * width;
        load_rows(query.at(row, head), query.stride(), rows, padded_rows, d, &table, span.position + begin, q);
        load_rows<T>(d_output.at(row, head), d_output.stride(), rows, padded_rows, d, nullptr, 0, d_out);
        transpose_tile(q, panels, d, q_transposed);
        transpose_tile(d_out, panels, d, d_out_transposed);
        pack_rows<T>(q, stride, padded_rows, d, columns, q_packed, columns * group<T>);
        pack_rows<T>(d_out, stride, padded_rows, d, columns, d_out_packed, columns * group<T>);
        std::fill_n(dq, tile * columns, A(0));
        A lse[tile], along[tile];  // rows that only fill up the tile get probabilities of zero
        std::fill_n(lse, tile, std::numeric_limits<A>::infinity());
        std::fill_n(along, tile, A(0));
        for (std::int64_t i = 0; i < rows; ++i) {
          lse[i] = log_sum_exp[(row + i) * heads + head];
          const T* const out = output.at(row + i, head);
          A sum = 0;
#pragma omp simd reduction(+ : sum)
          for (std::int64_t j = 0; j < d; ++j) sum += static_cast<A>(out[j]) * static_cast<A>(d_out[i * stride + j]);
          along[i] = sum;
        }
        for (std::int64_t first = 0; first < begin + rows; first += block) {
          const std::int64_t last = std::min(first + block, begin + rows);
          for (std::int64_t j = 0; j < panels; ++j) {
            const std::int64_t from = begin + j * width;
            const std::int64_t keys = round_up(std::min(last, from + width) - first, tile_rows);
            for (std::int64_t i = 0; i < keys; i += tile_rows) {
              A p[tile_rows * width], ds[tile_rows * width];
              score_panel(k + (first + i) * stride, q_transposed + j * width * stride, d, p, width);
              score_panel(v + (first + i) * stride, d_out_transposed + j * width * stride, d, ds, width);
              for (std::int64_t r = 0; r < tile_rows; ++r) {
                const auto hidden = static_cast<int>(std::min(first + i + r - from, width));
                const std::int64_t at = (i + r) * tile + j * width;
                A *const p_row = p + r * width, *const ds_row = ds + r * width;
#pragma omp simd
                for (int l = 0; l < static_cast<int>(width); ++l) {
                  const A weight = l < hidden ? A(0) : vector_exp(p_row[l] * scale - lse[j * width + l]);
                  probabilities[at + l] = static_cast<T>(weight);
                  ds_row[l] = weight * (ds_row[l] - along[j * width + l]) * scale;
                  d_scores[at + l] = static_cast<T>(ds_row[l]);
                }
              }
              for (std::int64_t r = 0; group < T >> 1 && r < tile_rows; r += group<T>) {
                interleave(ds + r * width, width, d_scores_interleaved + (i + r) * tile + j * width * group<T>);
              }
            }
          }
          for (std::int64_t i = first; i < last; i += tile_rows) {
            const std::int64_t seen_from = std::max<std::int64_t>(0, i - begin);  // by the first query of the tile
            const std::int64_t units = (rows - seen_from + group<T> - 1) / group<T>;
            if (units <= 0) break;
            const std::int64_t at = (i - first) * tile + seen_from, packed = seen_from * columns;
            add_product<T, LeftLayout::rows>(probabilities + at, tile, d_out_packed + packed, units, columns,
                                             dv + i * columns, ones);
            add_product<T, LeftLayout::rows>(d_scores + at, tile, q_packed + packed, units, columns, dk + i * columns,
                                             ones);
          }
          for (std::int64_t i = 0; i < rows; i += tile_rows) {
            const std::int64_t keys = std::min(last, begin + i + tile_rows) - first;
            if (keys <= 0) continue;
            add_product<T, LeftLayout::interleaved>((group<T> == 1 ? d_scores : d_scores_interleaved) + i * group<T>,
                                                    tile * group<T>, k_packed + first * columns,
                                                    (keys + group<T> - 1) / group<T>, columns, dq + i * columns, ones);
          }
        }
        rotate(dq, columns, dq, columns, rows, span.position + begin, table, true);
        store_rows(dq, columns, rows, d, d_query.rows.at(row, head), d_query.rows.stride(), d_query.accumulate);
      }
    }
    rotate(dk, columns, dk, columns, span.length, span.position, table, true);
    store_rows(dk, columns, span.length, d, d_key.rows.at(span.begin, kv_head), d_key.rows.stride(), d_key.accumulate);
    store_rows(dv, columns, span.length, d, d_value.rows.at(span.begin, kv_head), d_value.rows.stride(),
               d_value.accumulate);
  }
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
