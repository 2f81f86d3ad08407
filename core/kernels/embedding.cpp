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

template <class T>
void embedding_backward(const T* dy, std::span<const std::int32_t> tokens, std::int64_t columns,
                        accumulate_t<T>* dweight) {
  using A = accumulate_t<T>;
  constexpr std::int64_t cache_line = 64 / sizeof(A);
  const auto rows = static_cast<std::int64_t>(tokens.size());
  const std::int64_t lines = (columns + cache_line - 1) / cache_line;
#pragma omp parallel if (rows * columns > 65536)
  {
    const std::int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const std::int64_t begin = std::min(columns, lines * thread / threads * cache_line);
    const std::int64_t end = std::min(columns, lines * (thread + 1) / threads * cache_line);
    for (std::int64_t i = 0; i < rows; ++i) {
      const T* const source = dy + i * columns;
      assert(tokens[static_cast<std::size_t>(i)] >= 0);
      A* const target = dweight + tokens[static_cast<std::size_t>(i)] * columns;
#pragma omp simd
      for (std::int64_t j = begin; j < end; ++j) target[j] += static_cast<A>(source[j]);
    }
  }
}

template void embedding_forward(const float*, std::span<const std::int32_t>, std::int64_t, float*);
template void embedding_forward(const double*, std::span<const std::int32_t>, std::int64_t, double*);
template void embedding_forward(const bfloat16*, std::span<const std::int32_t>, std::int64_t, bfloat16*);
template void embedding_backward(const float*, std::span<const std::int32_t>, std::int64_t, float*);
template void embedding_backward(const double*, std::span<const std::int32_t>, std::int64_t, double*);
template void embedding_backward(const bfloat16*, std::span<const std::int32_t>, std::int64_t, float*);

}  // namespace palimpsest
