#include "core/kernels/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/memory_tiles.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

/// local <- softmax(q K^T / sqrt(d)) V over positions 0 ... position; `scores` has room for them.
template <class T, class A>
void attend(const A* q, const DecodeAttention<T>& in, std::int64_t kv_head, std::int64_t position, A* scores,
            A* local) {
  const std::int64_t d = in.query.head_size;
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  A highest = -std::numeric_limits<A>::infinity();
  for (std::int64_t t = 0; t <= position; ++t) {
    const T* const k = in.rotated_keys.at(t, kv_head);
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < d; ++j) sum += q[j] * static_cast<A>(k[j]);
    scores[t] = sum * scale;
    highest = std::max(highest, scores[t]);
  }
  A total = 0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t t = 0; t <= position; ++t) {
    scores[t] = vector_exp(scores[t] - highest);
    total += scores[t];
  }
  std::fill(local, local + d, A(0));
  for (std::int64_t t = 0; t <= position; ++t) {
    const T* const v = in.values.at(t, kv_head);
    const A weight = scores[t] / total;
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) local[j] += weight * static_cast<A>(v[j]);
  }
}

/// recalled <- sigma(q) M / (sigma(q) z + epsilon)
template <class T, class A>
void recall(const T* query, const DecodeAttention<T>& in, std::int64_t kv_head, A* sq, A* recalled) {
  const std::int64_t d = in.query.head_size;
  const A* const m = in.memory.matrix_at(0, 0, kv_head);
  for (std::int64_t i = 0; i < d; ++i) sq[i] = memory_tiles::sigma(static_cast<A>(query[i]));
  const A denominator = memory_tiles::dot(sq, in.memory.norm_at(0, 0, kv_head), d) + static_cast<A>(in.epsilon);
  std::fill(recalled, recalled + d, A(0));
  for (std::int64_t i = 0; i < d; ++i) memory_tiles::add_scaled(recalled, sq[i] / denominator, m + i * d, d);
}

}  // namespace

template <class T>
void decode_attention(MemoryPool& pool, const DecodeAttention<T>& in, std::int64_t position, const RotaryTable& rotary,
                      HeadRows<T> output) {
  using A = accumulate_t<T>;
  const std::int64_t d = in.query.head_size, group = in.query.heads / in.rotated_keys.heads;
  Tensor scratch(pool, Shape{in.query.heads, 4 * d + position + 1}, data_type_of<A>);
#pragma omp parallel for schedule(static)
  for (std::int64_t head = 0; head < in.query.heads; ++head) {
    A* const q = scratch.data<A>() + head * scratch.shape()[1];
    A *const local = q + d, *const sq = local + d, *const recalled = sq + d, *const scores = recalled + d;
    const T* const query = in.query.at(0, head);
    T* const rotated = output.at(0, head);  // the result comes later
    rotate(query, d, rotated, d, 1, position, rotary, false);
    for (std::int64_t j = 0; j < d; ++j) q[j] = static_cast<A>(rotated[j]);
    attend(q, in, head / group, position, scores, local);
    const A g = in.reads_memory || in.gated_without_memory ? sigmoid(in.beta[head]) : A(0);
    if (in.reads_memory) {
      recall(query, in, head / group, sq, recalled);
    } else {
      std::fill(recalled, recalled + d, A(0));
    }
    T* const out = output.at(0, head);
    for (std::int64_t j = 0; j < d; ++j) out[j] = static_cast<T>(g * recalled[j] + (A(1) - g) * local[j]);
  }
}

template void decode_attention<float>(MemoryPool&, const DecodeAttention<float>&, std::int64_t, const RotaryTable&,
                                      HeadRows<float>);
template void decode_attention<bfloat16>(MemoryPool&, const DecodeAttention<bfloat16>&, std::int64_t,
                                         const RotaryTable&, HeadRows<bfloat16>);
template void decode_attention<double>(MemoryPool&, const DecodeAttention<double>&, std::int64_t, const RotaryTable&,
                                       HeadRows<double>);

}  // namespace palimpsest
