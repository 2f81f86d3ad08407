#include "core/kernels/embedding.h"

#include <algorithm>
#include <cassert>

#include <omp.h>

namespace palimpsest {

template <class T>
void embedding_forward(const T* weight, std::span<const std::int32_t> tokens, std::int64_t columns, T* y) {
  const auto rows = static_cast<std::int64_t>(tokens.size());
#pragma omp parallel for schedule(static) if (rows * columns > 65536)
  for (std::int64_t i = 0; i < rows; ++i) {
    assert(tokens[static_cast<std::size_t>(i)] >= 0);
    const T* const row = weight + tokens[static_cast<std::size_t>(i)] * columns;
    std::copy(row, row + columns, y + i * columns);
  }
}

namespace {

/// What a thread adds up: columns, whole lines of a cache, of the rows of every `groups`-th token of the vocabulary, in
/// a grid of which each thread has about as much.
struct Part {
  std::int64_t begin, end;
  std::int32_t group, groups;

  Part(std::int64_t columns, std::int64_t cache_line, int thread, int threads) {
    const std::int64_t lines = std::max<std::int64_t>((columns + cache_line - 1) / cache_line, 1);
    std::int64_t across = 1;
    for (std::int64_t more = 2; more <= std::min<std::int64_t>(threads, lines); ++more) {
      const std::int64_t each = (lines + more - 1) / more, each_before = (lines + across - 1) / across;
      // Lines of a thread over the groups that share their rows, multiplied out.
      if (each * (threads / across) <= each_before * (threads / more)) across = more;
    }
    groups = static_cast<std::int32_t>(threads / across);
    group = static_cast<std::int32_t>(thread / across);
    const std::int64_t at = thread % across;
    begin = std::min(columns, lines * at / across * cache_line);
    end = group < groups ? std::min(columns, lines * (at + 1) / across * cache_line) : begin;
  }
  bool has(std::int32_t token) const { return groups == 1 || token % groups == group; }
};

template <class A>
constexpr std::int64_t cache_line = 64 / sizeof(A);

}  // namespace

template <class T>
void embedding_backward(const T* dy, std::span<const std::int32_t> tokens, std::int64_t columns,
                        accumulate_t<T>* dweight) {
  using A = accumulate_t<T>;
  const auto rows = static_cast<std::int64_t>(tokens.size());
#pragma omp parallel if (rows * columns > 65536)
  {
    const Part part(columns, cache_line<A>, omp_get_thread_num(), omp_get_num_threads());
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int32_t token = tokens[static_cast<std::size_t>(i)];
      assert(token >= 0);
      if (!part.has(token)) continue;
      const T* const source = dy + i * columns;
      A* const target = dweight + token * columns;
#pragma omp simd
      for (std::int64_t j = part.begin; j < part.end; ++j) target[j] += static_cast<A>(source[j]);
    }
  }
}

std::vector<double> embedding_backward_shares(std::span<const std::int32_t> tokens, std::int64_t columns, int threads) {
  std::vector<double> shares;
  for (int thread = 0; thread < threads; ++thread) {
    const Part part(columns, cache_line<float>, thread, threads);
    const auto own = std::count_if(tokens.begin(), tokens.end(), [&](std::int32_t token) { return part.has(token); });
    shares.push_back(static_cast<double>(own * (part.end - part.begin)));
  }
  return shares;
}

template void embedding_forward(const float*, std::span<const std::int32_t>, std::int64_t, float*);
template void embedding_forward(const double*, std::span<const std::int32_t>, std::int64_t, double*);
template void embedding_forward(const bfloat16*, std::span<const std::int32_t>, std::int64_t, bfloat16*);
template void embedding_backward(const float*, std::span<const std::int32_t>, std::int64_t, float*);
template void embedding_backward(const double*, std::span<const std::int32_t>, std::int64_t, double*);
template void embedding_backward(const bfloat16*, std::span<const std::int32_t>, std::int64_t, float*);

}  // namespace palimpsest
