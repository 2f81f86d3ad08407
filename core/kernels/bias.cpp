#include "core/kernels/bias.h"

#include <algorithm>

namespace palimpsest {

namespace {

constexpr std::int64_t rows_per_block = 64;

}  // namespace

template <class T>
void add_bias_forward(const T* x, const accumulate_t<T>* bias, std::int64_t rows, std::int64_t columns, T* y) {
  using A = accumulate_t<T>;
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const row = x + i * columns;
    T* const out = y + i * columns;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) out[j] = static_cast<T>(static_cast<A>(row[j]) + bias[j]);
  }
}

std::int64_t add_bias_blocks(std::int64_t rows) { return (rows + rows_per_block - 1) / rows_per_block; }

template <class T>
void add_bias_backward(const T* dy, std::int64_t rows, std::int64_t columns, Gradient<accumulate_t<T>*> dbias,
                       accumulate_t<T>* scratch) {
  using A = accumulate_t<T>;
  const std::int64_t blocks = add_bias_blocks(rows);
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t block = 0; block < blocks; ++block) {
    A* const partial = scratch + block * columns;
    std::fill(partial, partial + columns, A{0});
    const std::int64_t end = std::min(rows, (block + 1) * rows_per_block);
    for (std::int64_t i = block * rows_per_block; i < end; ++i) {
      const T* const row = dy + i * columns;
#pragma omp simd
      for (std::int64_t j = 0; j < columns; ++j) partial[j] += static_cast<A>(row[j]);
    }
  }
  if (!dbias.accumulate) std::fill_n(dbias.view, columns, A{0});
  for (std::int64_t block = 0; block < blocks; ++block) {
    const A* const partial = scratch + block * columns;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) dbias.view[j] += partial[j];
  }
}

#define PALIMPSEST_INSTANTIATE(T)                                                                      \
  template void add_bias_forward<T>(const T*, const accumulate_t<T>*, std::int64_t, std::int64_t, T*); \
  template void add_bias_backward<T>(const T*, std::int64_t, std::int64_t, Gradient<accumulate_t<T>*>, \
                                     accumulate_t<T>*);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(double)
PALIMPSEST_INSTANTIATE(bfloat16)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
