// What memory_read.cpp and memory_write.cpp share: tiles of tokens of one head, brought into
// scratch memory in the accumulate type, with rows of zeros up to a multiple of sixteen so that
// matrix products see few different shapes.
#pragma once

#include <algorithm>
#include <cstdint>

#include <omp.h>

#include "core/gemm.h"
#include "core/kernels/vector_math.h"
#include "core/tensor.h"

namespace palimpsest::memory_tiles {

inline constexpr std::int64_t tile_rows = 256;

inline std::int64_t padded(std::int64_t rows) { return (rows + 15) / 16 * 16; }

/// sigma(x) = elu(x) + 1
template <class A>
inline A sigma(A x) {
  return x > A(0) ? x + A(1) : vector_exp(x);
}
/// d sigma / dx, from the value of sigma
template <class A>
inline A sigma_slope(A value) {
  return std::min(value, A(1));
}

/// `count` buffers of a tile by head_size for every thread.
template <class A>
class Scratch {
 public:
  Scratch(MemoryPool& pool, int count, std::int64_t rows, std::int64_t columns)
      : size_(rows * columns),
        count_(count),
        tensor_(pool, Shape{omp_get_max_threads(), count, rows, columns}, data_type_of<A>) {}
  A* get(int index) { return tensor_.template data<A>() + (omp_get_thread_num() * count_ + index) * size_; }

 private:
  std::int64_t size_;
  std::int64_t count_;
  Tensor tensor_;
};

/// destination (padded(rows), d) <- function(source), rows beyond `rows` zero.
template <class T, class A, class Function>
void load(const T* source, std::int64_t stride, std::int64_t rows, std::int64_t d, A* destination, Function function) {
  for (std::int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) destination[i * d + j] = function(static_cast<A>(source[i * stride + j]));
  }
  std::fill(destination + rows * d, destination + padded(rows) * d, A(0));
}

template <class A>
inline A dot(const A* a, const A* b, std::int64_t d) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < d; ++j) sum += a[j] * b[j];
  return sum;
}

/// target <- target + factor * source
template <class A>
inline void add_scaled(A* target, A factor, const A* source, std::int64_t d) {
#pragma omp simd
  for (std::int64_t j = 0; j < d; ++j) target[j] += factor * source[j];
}

/// target (rows, stride) gets source (rows, d) times sigma's slope, added or written.
template <class T, class A>
void store_through_sigma(const A* source, const A* sigma_values, std::int64_t rows, std::int64_t d, T* target,
                         std::int64_t stride, bool accumulate) {
  for (std::int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (std::int64_t j = 0; j < d; ++j) {
      const A before = accumulate ? static_cast<A>(target[i * stride + j]) : A(0);
      target[i * stride + j] = static_cast<T>(before + source[i * d + j] * sigma_slope(sigma_values[i * d + j]));
    }
  }
}

template <class T>
void zero_rows(T* target, std::int64_t stride, std::int64_t rows, std::int64_t d) {
  for (std::int64_t i = 0; i < rows; ++i) std::fill(target + i * stride, target + i * stride + d, T(0));
}

}  // namespace palimpsest::memory_tiles
