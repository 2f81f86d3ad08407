#include "core/kernels/decode_attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "core/kernels/memory_tiles.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

/// Tokens a thread takes at a time, with all their heads, so that memory is read in long runs. Their number does not
/// depend on the threads, and so neither do the bits of the result.
constexpr std::int64_t block_tokens = 64;
/// Tokens worked on together: their sums hide the latency of an addition.
constexpr std::int64_t together = 4;

/// What a block of tokens contributes to one head; joined as in FlashAttention (Dao et al. 2022, section 3.1).
template <class A>
struct Partial {
  A* data;

  A* scores() const { return data; }                       // (block_tokens); later e^(score - highest)
  A& highest() const { return data[block_tokens]; }        // of the scores
  A& total() const { return data[block_tokens + 1]; }      // sum over tokens of e^(score - highest)
  A* weighted() const { return data + block_tokens + 2; }  // (d): sum over tokens of e^(score - highest) v
  static std::int64_t size(std::int64_t head_size) { return block_tokens + 2 + head_size; }
};

/// products[i] <- q times row i of `count` <= `together` rows
template <class T, class A>
void multiply_rows(const A* q, const T* rows, std::int64_t stride, std::int64_t count, std::int64_t d, A* products) {
  if (count == together) {
    const T *const r0 = rows, *const r1 = r0 + stride, *const r2 = r1 + stride, *const r3 = r2 + stride;
    A s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (std::int64_t j = 0; j < d; ++j) {
      s0 += q[j] * static_cast<A>(r0[j]);
      s1 += q[j] * static_cast<A>(r1[j]);
      s2 += q[j] * static_cast<A>(r2[j]);
      s3 += q[j] * static_cast<A>(r3[j]);
    }
    products[0] = s0;
    products[1] = s1;
    products[2] = s2;
    products[3] = s3;
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const row = rows + i * stride;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < d; ++j) sum += q[j] * static_cast<A>(row[j]);
    products[i] = sum;
  }
}

/// target <- target + sum over i of factors[i] times row i of `count` <= `together` rows
template <class T, class A>
void add_rows(const A* factors, const T* rows, std::int64_t stride, std::int64_t count, std::int64_t d, A* target) {
  if (count == together) {
    const T *const r0 = rows, *const r1 = r0 + stride, *const r2 = r1 + stride, *const r3 = r2 + stride;
    const A f0 = factors[0], f1 = factors[1], f2 = factors[2], f3 = factors[3];
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) {
      target[j] += f0 * static_cast<A>(r0[j]) + f1 * static_cast<A>(r1[j]) + f2 * static_cast<A>(r2[j]) +
                   f3 * static_cast<A>(r3[j]);
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const T* const row = rows + i * stride;
    const A factor = factors[i];
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) target[j] += factor * static_cast<A>(row[j]);
  }
}

/// The contributions of tokens [begin, end) to every head; q (heads, d) is rotated and scaled.
template <class T, class A>
void attend(const A* q, const DecodeAttention<T>& in, std::int64_t begin, std::int64_t end, A* partials) {
  const std::int64_t d = in.query.head_size, heads = in.query.heads, group = heads / in.rotated_keys.heads;
  const auto partial = [&](std::int64_t head) { return Partial<A>{partials + head * Partial<A>::size(d)}; };
  for (std::int64_t t = begin; t < end; t += together) {
    for (std::int64_t head = 0; head < heads; ++head) {
      multiply_rows(q + head * d, in.rotated_keys.at(t, head / group), in.rotated_keys.stride(),
                    std::min(together, end - t), d, partial(head).scores() + t - begin);
    }
  }
  for (std::int64_t head = 0; head < heads; ++head) {
    const Partial<A> own = partial(head);
    A* const scores = own.scores();
    const A highest = largest(scores, end - begin);
    A total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < end - begin; ++i) {
      scores[i] = vector_exp(scores[i] - highest);
      total += scores[i];
    }
    own.highest() = highest;
    own.total() = total;
    std::fill_n(own.weighted(), d, A(0));
  }
  for (std::int64_t t = begin; t < end; t += together) {
    for (std::int64_t head = 0; head < heads; ++head) {
      add_rows(partial(head).scores() + t - begin, in.values.at(t, head / group), in.values.stride(),
               std::min(together, end - t), d, partial(head).weighted());
    }
  }
}

/// local <- softmax(q K^T / sqrt(d)) V of a head, from its contributions, which stand `apart` elements apart.
template <class A>
void join(A* first, std::int64_t blocks, std::int64_t apart, std::int64_t d, A* local) {
  A highest = -std::numeric_limits<A>::infinity(), total = 0;
  for (std::int64_t block = 0; block < blocks; ++block) {
    highest = std::max(highest, Partial<A>{first + block * apart}.highest());
  }
  std::fill_n(local, d, A(0));
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Partial<A> partial{first + block * apart};
    const A factor = vector_exp(partial.highest() - highest);
    total += factor * partial.total();
    memory_tiles::add_scaled(local, factor, partial.weighted(), d);
  }
  for (std::int64_t j = 0; j < d; ++j) local[j] /= total;
}

/// recalled <- phi(q) M / (phi(q) z + epsilon), or normalised by its root mean square with the gain of the head
template <class T, class A>
void recall(const T* query, const DecodeAttention<T>& in, std::int64_t head, std::int64_t kv_head, A* sq, A* recalled) {
  const std::int64_t d = in.query.head_size;
  const A* const m = in.memory.matrix_at(0, 0, kv_head);
  const bool elu = in.features == MemoryFeatures::elu;
  for (std::int64_t i = 0; i < d; ++i) {
    const auto x = static_cast<A>(query[i]);
    sq[i] = elu ? memory_tiles::sigma(x) : x;
  }
  if (in.gain == nullptr) {
    const A denominator = memory_tiles::dot(sq, in.memory.norm_at(0, 0, kv_head), d) + static_cast<A>(in.epsilon);
    for (std::int64_t i = 0; i < d; ++i) sq[i] /= denominator;
  }
  std::fill_n(recalled, d, A(0));
  for (std::int64_t i = 0; i < d; i += together) {
    add_rows(sq + i, m + i * d, d, std::min(together, d - i), d, recalled);
  }
  if (in.gain == nullptr) return;
  const A square = memory_tiles::dot(recalled, recalled, d) / static_cast<A>(d);
  const A inverse = A(1) / std::sqrt(square + static_cast<A>(in.epsilon));
  for (std::int64_t i = 0; i < d; ++i) recalled[i] *= inverse * in.gain[head * d + i];
}

}  // namespace

template <class T>
void decode_attention(MemoryPool& pool, const DecodeAttention<T>& in, std::int64_t position, const RotaryTable& rotary,
                      HeadRows<T> output) {
  using A = accumulate_t<T>;
  const std::int64_t d = in.query.head_size, heads = in.query.heads, group = heads / in.rotated_keys.heads;
  assert(in.rotated_keys.heads > 0 && heads % in.rotated_keys.heads == 0 && in.values.heads == in.rotated_keys.heads);
  assert(in.rotated_keys.head_size == d && in.values.head_size == d && output.head_size == d && output.heads == heads);
  assert(in.first_key >= 0 && in.first_key <= position && position < rotary.positions());
  assert(!in.reads_memory || (in.memory && in.beta != nullptr));
  const std::int64_t end = position + 1, blocks = (end - in.first_key + block_tokens - 1) / block_tokens;
  const std::int64_t apart = heads * Partial<A>::size(d);
  Tensor queries(pool, Shape{heads, d}, data_type_of<A>), contributions(pool, Shape{blocks, apart}, data_type_of<A>);
  Tensor scratch(pool, Shape{heads, 3, d}, data_type_of<A>);
  A *const q = queries.data<A>(), *const partials = contributions.data<A>();
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  for (std::int64_t head = 0; head < heads; ++head) {
    T* const rotated = output.at(0, head);  // the result comes later
    rotate(in.query.at(0, head), d, rotated, d, 1, position, rotary, false);
    for (std::int64_t j = 0; j < d; ++j) q[head * d + j] = scale * static_cast<A>(rotated[j]);
  }
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t begin = in.first_key + block * block_tokens;
      attend(q, in, begin, std::min(begin + block_tokens, end), partials + block * apart);
    }
#pragma omp for schedule(static)
    for (std::int64_t head = 0; head < heads; ++head) {
      A *const local = scratch.data<A>() + head * 3 * d, *const sq = local + d, *const recalled = sq + d;
      join(partials + head * Partial<A>::size(d), blocks, apart, d, local);
      const A g = in.reads_memory || in.gated_without_memory ? sigmoid(in.beta[head]) : A(0);
      if (in.reads_memory) {
        const HeadRows<const T>& query = in.memory_query ? in.memory_query : in.query;
        recall(query.at(0, query.heads == heads ? head : head / group), in, head, head / group, sq, recalled);
      } else {
        std::fill_n(recalled, d, A(0));
      }
      const A kept = in.adds ? A(1) : A(1) - g;
      T* const out = output.at(0, head);
      for (std::int64_t j = 0; j < d; ++j) out[j] = static_cast<T>(g * recalled[j] + kept * local[j]);
    }
  }
}

template void decode_attention<float>(MemoryPool&, const DecodeAttention<float>&, std::int64_t, const RotaryTable&,
                                      HeadRows<float>);
template void decode_attention<bfloat16>(MemoryPool&, const DecodeAttention<bfloat16>&, std::int64_t,
                                         const RotaryTable&, HeadRows<bfloat16>);
template void decode_attention<double>(MemoryPool&, const DecodeAttention<double>&, std::int64_t, const RotaryTable&,
                                       HeadRows<double>);

}  // namespace palimpsest
