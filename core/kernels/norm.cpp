#include "core/kernels/norm.h"

#include <algorithm>
#include <cmath>

namespace palimpsest {

namespace {

constexpr std::int64_t rows_per_block = 32;

template <class T, class A>
void row_backward(const T* x, const A* weight, A r, const T* dy, std::int64_t columns, T* dx, bool accumulate) {
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t j = 0; j < columns; ++j) dot += static_cast<A>(dy[j]) * weight[j] * static_cast<A>(x[j]);
  const A projection = r * r * dot / static_cast<A>(columns);
#pragma omp simd
  for (std::int64_t j = 0; j < columns; ++j) {
    const A value = r * (static_cast<A>(dy[j]) * weight[j] - static_cast<A>(x[j]) * projection);
    dx[j] = static_cast<T>(accumulate ? static_cast<A>(dx[j]) + value : value);
  }
}

}  // namespace

template <class T>
void rms_norm_forward(const T* x, const accumulate_t<T>* weight, std::int64_t rows, std::int64_t columns,
                      double epsilon, T* y, accumulate_t<T>* inverse_rms) {
  using A = accumulate_t<T>;
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const x_row = x + i * columns;
    T* const y_row = y + i * columns;
    A squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t j = 0; j < columns; ++j) squares += static_cast<A>(x_row[j]) * static_cast<A>(x_row[j]);
    const A r = A{1} / std::sqrt(squares / static_cast<A>(columns) + static_cast<A>(epsilon));
    inverse_rms[i] = r;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) y_row[j] = static_cast<T>(static_cast<A>(x_row[j]) * r * weight[j]);
  }
}

std::int64_t rms_norm_blocks(std::int64_t rows) { return (rows + rows_per_block - 1) / rows_per_block; }

template <class T>
void rms_norm_backward(const T* x, const accumulate_t<T>* weight, const accumulate_t<T>* inverse_rms, const T* dy,
                       std::int64_t rows, std::int64_t columns, T* dx, bool accumulate_dx, accumulate_t<T>* dw,
                       bool accumulate_dw, accumulate_t<T>* scratch) {
  using A = accumulate_t<T>;
  const std::int64_t blocks = rms_norm_blocks(rows);
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t block = 0; block < blocks; ++block) {
    A* const partial = scratch + block * columns;
    if (dw != nullptr) std::fill(partial, partial + columns, A{0});
    const std::int64_t end = std::min(rows, (block + 1) * rows_per_block);
    for (std::int64_t i = block * rows_per_block; i < end; ++i) {
      const T* const x_row = x + i * columns;
      const T* const dy_row = dy + i * columns;
      const A r = inverse_rms[i];
      if (dw != nullptr) {
#pragma omp simd
        for (std::int64_t j = 0; j < columns; ++j)
          partial[j] += static_cast<A>(dy_row[j]) * (static_cast<A>(x_row[j]) * r);
      }
      if (dx != nullptr) row_backward(x_row, weight, r, dy_row, columns, dx + i * columns, accumulate_dx);
    }
  }
  if (dw == nullptr) return;
  if (!accumulate_dw) std::fill(dw, dw + columns, A{0});
  for (std::int64_t block = 0; block < blocks; ++block) {
    const A* const partial = scratch + block * columns;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) dw[j] += partial[j];
  }
}

template void rms_norm_forward(const float*, const float*, std::int64_t, std::int64_t, double, float*, float*);
template void rms_norm_backward(const float*, const float*, const float*, const float*, std::int64_t, std::int64_t,
                                float*, bool, float*, bool, float*);
template void rms_norm_forward(const double*, const double*, std::int64_t, std::int64_t, double, double*, double*);
template void rms_norm_backward(const double*, const double*, const double*, const double*, std::int64_t, std::int64_t,
                                double*, bool, double*, bool, double*);
template void rms_norm_forward(const bfloat16*, const float*, std::int64_t, std::int64_t, double, bfloat16*, float*);
template void rms_norm_backward(const bfloat16*, const float*, const float*, const bfloat16*, std::int64_t,
                                std::int64_t, bfloat16*, bool, float*, bool, float*);

}  // namespace palimpsest
