#include "core/kernels/local_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include <omp.h>

#include "core/gemm.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

/// Query rows of a tile; keys are padded to a multiple of it, so products see few shapes.
std::int64_t tile_for(std::int64_t length) { return length <= 16 ? 16 : length <= 32 ? 32 : 64; }

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::int64_t longest_padded_span(const SequenceLayout& layout) {
  std::int64_t longest = 0;
  for (const Span& span : layout.spans) longest = std::max(longest, round_up(span.length, tile_for(span.length)));
  return longest;
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

template <class T>
void load_rotated(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t padded_rows,
                  std::int64_t position, const RotaryTable& table, T* destination) {
  const std::int64_t d = table.head_size();
  rotate(source, stride, destination, d, rows, position, table, false);
  std::fill(destination + rows * d, destination + padded_rows * d, T(0));
}

template <class T>
void load_plain(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t padded_rows, std::int64_t d,
                T* destination) {
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(source + i * stride, d, destination + i * d);
  std::fill(destination + rows * d, destination + padded_rows * d, T(0));
}

/// target (rows, stride) gets source (rows, d), added or written.
template <class T, class A>
void store(const A* source, std::int64_t rows, std::int64_t d, T* target, std::int64_t stride, bool accumulate) {
  for (std::int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) {
      const A before = accumulate ? static_cast<A>(target[i * stride + j]) : A(0);
      target[i * stride + j] = static_cast<T>(before + source[i * d + j]);
    }
  }
}

/// probabilities <- exp(scale (scores - max)), not yet divided by their sum, zero beyond `visible`.
/// Returns the sum and the log-sum-exp of the scaled scores. The two arrays may be the same.
template <class T, class A>
std::pair<A, A> softmax_row(const A* scores, A scale, std::int64_t visible, std::int64_t columns, T* probabilities) {
  const A highest = largest(scores, visible);
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < visible; ++j) {
    const A weight = vector_exp((scores[j] - highest) * scale);
    probabilities[j] = static_cast<T>(weight);
    sum += weight;
  }
  std::fill(probabilities + visible, probabilities + columns, T(0));
  return {sum, highest * scale + std::log(sum)};
}

}  // namespace

template <class T>
void local_attention_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                             HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                             HeadRows<T> output, accumulate_t<T>* log_sum_exp) {
  using A = accumulate_t<T>;
  const std::int64_t d = query.head_size, heads = query.heads, kv_heads = key.heads, group = heads / kv_heads;
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  const std::int64_t longest = longest_padded_span(layout);
  Scratch scratch(pool, 2 * longest * d * sizeof(T) + 64 * (d * sizeof(T) + d * sizeof(A)) +
                            64 * longest * (sizeof(A) + sizeof(T)) + 6 * 64);
  const auto tasks = static_cast<std::int64_t>(layout.spans.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const Span& span = layout.spans[static_cast<std::size_t>(task / kv_heads)];
    const std::int64_t kv_head = task % kv_heads, tile = tile_for(span.length), padded = round_up(span.length, tile);
    Scratch::Taker pieces(scratch);
    T* const k = pieces.template take<T>(padded * d);
    T* const v = pieces.template take<T>(padded * d);
    T* const q = pieces.template take<T>(tile * d);
    A* const out = pieces.template take<A>(tile * d);
    A* const scores = pieces.template take<A>(tile * padded);
    T* const probabilities = pieces.template take<T>(tile * padded);
    load_rotated(key.at(span.begin, kv_head), key.stride(), span.length, padded, span.position, table, k);
    load_plain(value.at(span.begin, kv_head), value.stride(), span.length, padded, d, v);
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += tile) {
        const std::int64_t rows = std::min(tile, span.length - begin), keys = begin + tile, row = span.begin + begin;
        A sums[64];
        load_rotated(query.at(row, head), query.stride(), rows, tile, span.position + begin, table, q);
        matmul(matrix(q, tile, d, d), matrix(k, keys, d, d).transposed(), matrix(scores, tile, keys, keys));
        for (std::int64_t i = 0; i < rows; ++i) {
          const auto [sum, lse] = softmax_row(scores + i * keys, scale, begin + i + 1, keys, probabilities + i * keys);
          sums[i] = sum;
          if (log_sum_exp) log_sum_exp[(row + i) * heads + head] = lse;
        }
        std::fill(probabilities + rows * keys, probabilities + tile * keys, T(0));
        matmul(matrix(probabilities, tile, keys, keys), matrix(v, keys, d, d), matrix(out, tile, d, d));
        for (std::int64_t i = 0; i < rows; ++i) {
          T* const target = output.at(row + i, head);
          const A inverse = A(1) / sums[i];
#pragma omp simd
          for (std::int64_t j = 0; j < d; ++j) target[j] = static_cast<T>(out[i * d + j] * inverse);
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
  const std::int64_t d = query.head_size, heads = query.heads, kv_heads = key.heads, group = heads / kv_heads;
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  const std::int64_t longest = longest_padded_span(layout);
  Scratch scratch(pool, 2 * longest * d * (sizeof(T) + sizeof(A)) + 64 * d * (2 * sizeof(T) + sizeof(A)) +
                            64 * longest * (2 * sizeof(A) + sizeof(T)) + 10 * 64);
  const auto tasks = static_cast<std::int64_t>(layout.spans.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const Span& span = layout.spans[static_cast<std::size_t>(task / kv_heads)];
    const std::int64_t kv_head = task % kv_heads, tile = tile_for(span.length), padded = round_up(span.length, tile);
    Scratch::Taker pieces(scratch);
    T* const k = pieces.template take<T>(padded * d);
    T* const v = pieces.template take<T>(padded * d);
    A* const dk = pieces.template take<A>(padded * d);
    A* const dv = pieces.template take<A>(padded * d);
    T* const q = pieces.template take<T>(tile * d);
    T* const d_out = pieces.template take<T>(tile * d);
    A* const dq = pieces.template take<A>(tile * d);
    A* const scores = pieces.template take<A>(tile * padded);
    A* const d_probabilities = pieces.template take<A>(tile * padded);
    T* const probabilities = pieces.template take<T>(tile * padded);
    load_rotated(key.at(span.begin, kv_head), key.stride(), span.length, padded, span.position, table, k);
    load_plain(value.at(span.begin, kv_head), value.stride(), span.length, padded, d, v);
    std::fill(dk, dk + padded * d, A(0));
    std::fill(dv, dv + padded * d, A(0));
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += tile) {
        const std::int64_t rows = std::min(tile, span.length - begin), keys = begin + tile, row = span.begin + begin;
        load_rotated(query.at(row, head), query.stride(), rows, tile, span.position + begin, table, q);
        load_plain(d_output.at(row, head), d_output.stride(), rows, tile, d, d_out);
        matmul(matrix(q, tile, d, d), matrix(k, keys, d, d).transposed(), matrix(scores, tile, keys, keys));
        for (std::int64_t i = 0; i < rows; ++i) {
          const std::int64_t visible = begin + i + 1;
          const A lse = log_sum_exp[(row + i) * heads + head];
#pragma omp simd
          for (std::int64_t j = 0; j < visible; ++j) {
            probabilities[i * keys + j] = static_cast<T>(vector_exp(scores[i * keys + j] * scale - lse));
          }
          std::fill(probabilities + i * keys + visible, probabilities + (i + 1) * keys, T(0));
        }
        std::fill(probabilities + rows * keys, probabilities + tile * keys, T(0));
        matmul(matrix(probabilities, tile, keys, keys).transposed(), matrix(d_out, tile, d, d), matrix(dv, keys, d, d),
               Output::accumulate);
        matmul(matrix(d_out, tile, d, d), matrix(v, keys, d, d).transposed(),
               matrix(d_probabilities, tile, keys, keys));
        for (std::int64_t i = 0; i < rows; ++i) {
          const T* const out = output.at(row + i, head);
          A along = 0;
#pragma omp simd reduction(+ : along)
          for (std::int64_t j = 0; j < d; ++j) along += static_cast<A>(out[j]) * static_cast<A>(d_out[i * d + j]);
          const std::int64_t visible = begin + i + 1;
#pragma omp simd
          for (std::int64_t j = 0; j < visible; ++j) {  // now dS
            const A p = static_cast<A>(probabilities[i * keys + j]);
            probabilities[i * keys + j] = static_cast<T>(p * (d_probabilities[i * keys + j] - along) * scale);
          }
        }
        matmul(matrix(probabilities, tile, keys, keys), matrix(k, keys, d, d), matrix(dq, tile, d, d));
        matmul(matrix(probabilities, tile, keys, keys).transposed(), matrix(q, tile, d, d), matrix(dk, keys, d, d),
               Output::accumulate);
        rotate(dq, d, dq, d, rows, span.position + begin, table, true);
        store(dq, rows, d, d_query.rows.at(row, head), d_query.rows.stride(), d_query.accumulate);
      }
    }
    rotate(dk, d, dk, d, span.length, span.position, table, true);
    store(dk, span.length, d, d_key.rows.at(span.begin, kv_head), d_key.rows.stride(), d_key.accumulate);
    store(dv, span.length, d, d_value.rows.at(span.begin, kv_head), d_value.rows.stride(), d_value.accumulate);
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
