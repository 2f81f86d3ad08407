#include "core/kernels/nearest_attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include <omp.h>

#include "core/kernels/vector_math.h"
#include "core/matmul.h"

namespace palimpsest {

namespace {

/// Scores that stand in memory at a time, if a query's fit.
constexpr std::int64_t scores_at_once = std::int64_t{1} << 21;
/// Keys that are passed over together where none of them is near enough.
constexpr std::int64_t stretch = 32;

template <class A>
struct Candidate {
  A score;
  std::int32_t key;
};

/// The keys with the highest scores, as many as there is room for, by key; of equal ones the first.
template <class A>
std::span<Candidate<A>> find_nearest(const A* scores, std::int64_t keys, std::span<Candidate<A>> room) {
  const auto nearer = [](const Candidate<A>& a, const Candidate<A>& b) {
    return a.score > b.score || (a.score == b.score && a.key < b.key);
  };
  const std::int64_t count = std::min(keys, static_cast<std::int64_t>(room.size()));
  const std::span<Candidate<A>> found = room.first(static_cast<std::size_t>(count));
  std::int64_t key = 0;
  for (; key < count; ++key) found[static_cast<std::size_t>(key)] = {scores[key], static_cast<std::int32_t>(key)};
  std::make_heap(found.begin(), found.end(), nearer);  // the least near in front
  while (key < keys) {
    const std::int64_t end = std::min(key + stretch, keys);
    if (largest(scores + key, end - key) > found.front().score) {
      for (std::int64_t i = key; i < end; ++i) {
        if (!(scores[i] > found.front().score)) continue;
        std::pop_heap(found.begin(), found.end(), nearer);
        found.back() = {scores[i], static_cast<std::int32_t>(i)};
        std::push_heap(found.begin(), found.end(), nearer);
      }
    }
    key = end;
  }
  std::ranges::sort(found, {}, &Candidate<A>::key);
  return found;
}

/// Scores become weights: softmax of scale * score.
template <class A>
void softmax(std::span<Candidate<A>> found, A scale) {
  A highest = found.front().score, total = 0;
  for (const Candidate<A>& one : found) highest = std::max(highest, one.score);
  for (Candidate<A>& one : found) total += one.score = vector_exp(scale * (one.score - highest));
  for (Candidate<A>& one : found) one.score /= total;
}

template <class T, class A = accumulate_t<T>>
void add_row(A factor, const T* row, std::int64_t d, A* sum) {
#pragma omp simd
  for (std::int64_t j = 0; j < d; ++j) sum[j] += factor * static_cast<A>(row[j]);
}

template <class T, class A = accumulate_t<T>>
A product(const T* a, const T* b, std::int64_t d) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < d; ++j) sum += static_cast<A>(a[j]) * static_cast<A>(b[j]);
  return sum;
}

}  // namespace

template <class T>
void nearest_attention_forward(MemoryPool& pool, const NearestAttentionInputs<T>& in, HeadRows<T> output,
                               std::int64_t rows, const Nearest<T>& nearest) {
  using A = accumulate_t<T>;
  const std::int64_t d = in.query.head_size, heads = in.query.heads, group = heads / in.key.heads, k = in.top_k;
  assert(k > 0 && in.key.head_size == d && heads % in.key.heads == 0);
  std::fill_n(output.data, rows * output.stride(), T(0));
  if (nearest.rows) std::fill_n(nearest.rows, rows * heads * k, -1);
  std::int64_t most = 0;
  for (const StoredKeys& run : in.runs) {
    const std::int64_t at_once = std::clamp<std::int64_t>(scores_at_once / run.keys, 1, run.queries);
    most = std::max(most, at_once * run.keys);
  }
  if (most == 0) return;
  const std::int64_t threads = omp_get_max_threads();
  Tensor scratch(pool, Shape{most + threads * d}, data_type_of<A>);
  A *const scores = scratch.data<A>(), *const sums = scores + most;
  std::vector<Candidate<A>> candidates(static_cast<std::size_t>(threads * k));
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  for (const StoredKeys& run : in.runs) {
    assert(run.keys > 0);
    const std::int64_t at_once = std::clamp<std::int64_t>(scores_at_once / run.keys, 1, run.queries);
    for (std::int64_t begin = 0; begin < run.queries; begin += at_once) {
      const std::int64_t queries = std::min(at_once, run.queries - begin), first = run.first_query + begin;
      for (std::int64_t head = 0; head < heads; ++head) {
        const ConstMatrix q = matrix(in.query.at(first, head), queries, d, in.query.stride());
        const ConstMatrix keys = matrix(in.key.at(run.first_key, head / group), run.keys, d, in.key.stride());
        matmul(pool, q, keys.transposed(), matrix(scores, queries, run.keys, run.keys));
#pragma omp parallel for schedule(static)
        for (std::int64_t i = 0; i < queries; ++i) {
          const std::int64_t thread = omp_get_thread_num();
          const std::span<Candidate<A>> room(candidates.data() + thread * k, static_cast<std::size_t>(k));
          const std::span<Candidate<A>> found = find_nearest(scores + i * run.keys, run.keys, room);
          softmax(found, scale);
          A* const sum = sums + thread * d;
          std::fill_n(sum, d, A(0));
          for (std::size_t j = 0; j < found.size(); ++j) {
            const std::int64_t row = run.first_key + found[j].key;
            add_row(found[j].score, in.value.at(row, head / group), d, sum);
            if (nearest.rows) {
              const std::int64_t at = ((first + i) * heads + head) * k + static_cast<std::int64_t>(j);
              nearest.rows[at] = static_cast<std::int32_t>(row);
              nearest.weights[at] = found[j].score;
            }
          }
          std::transform(sum, sum + d, output.at(first + i, head), [](A x) { return static_cast<T>(x); });
        }
      }
    }
  }
}

template <class T>
void nearest_attention_backward(MemoryPool& pool, const NearestAttentionInputs<T>& in, std::int64_t rows,
                                const Nearest<T>& nearest, HeadRows<const T> d_output,
                                const Gradient<HeadRows<T>>& d_query) {
  using A = accumulate_t<T>;
  const std::int64_t d = in.query.head_size, heads = in.query.heads, group = heads / in.key.heads, k = in.top_k;
  const A scale = A(1) / std::sqrt(static_cast<A>(d));
  const std::int64_t each = k + d;
  Tensor scratch(pool, Shape{omp_get_max_threads(), each}, data_type_of<A>);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    A *const d_weights = scratch.data<A>() + omp_get_thread_num() * each, *const sum = d_weights + k;
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int32_t* const found = nearest.rows + (row * heads + head) * k;
      const A* const weights = nearest.weights + (row * heads + head) * k;
      const std::int64_t count = std::find(found, found + k, -1) - found;
      const T* const d_out = d_output.at(row, head);
      A along = 0;
      for (std::int64_t j = 0; j < count; ++j) {
        d_weights[j] = product(d_out, in.value.at(found[j], head / group), d);
        along += weights[j] * d_weights[j];
      }
      std::fill_n(sum, d, A(0));
      for (std::int64_t j = 0; j < count; ++j) {
        add_row(scale * weights[j] * (d_weights[j] - along), in.key.at(found[j], head / group), d, sum);
      }
      T* const target = d_query.view.at(row, head);
      for (std::int64_t j = 0; j < d; ++j) {
        target[j] = static_cast<T>((d_query.accumulate ? static_cast<A>(target[j]) : A(0)) + sum[j]);
      }
    }
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                                                                      \
  template void nearest_attention_forward<T>(MemoryPool&, const NearestAttentionInputs<T>&, HeadRows<T>, std::int64_t, \
                                             const Nearest<T>&);                                                       \
  template void nearest_attention_backward<T>(MemoryPool&, const NearestAttentionInputs<T>&, std::int64_t,             \
                                              const Nearest<T>&, HeadRows<const T>, const Gradient<HeadRows<T>>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
