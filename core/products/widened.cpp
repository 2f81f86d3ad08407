#include "core/products/widened.h"

#include <utility>

#include "core/products/onednn.h"

namespace palimpsest::products {

namespace {

/// A float32 matrix of the same extents.
Tensor room_for(MemoryPool& pool, const ConstMatrix& m) { return Tensor(pool, {m.rows, m.columns}, DataType::float32); }

void widen(const ConstMatrix& m, Tensor& copy, int threads) {
  const auto* source = static_cast<const bfloat16*>(m.data);
  auto* const target = copy.data<float>();
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (std::int64_t i = 0; i < m.rows; ++i) {
    for (std::int64_t j = 0; j < m.columns; ++j) {
      target[i * m.columns + j] = source[i * m.row_stride + j * m.column_stride];
    }
  }
}

ConstMatrix dense(const ConstMatrix& m) { return {nullptr, DataType::float32, m.rows, m.columns, m.columns, 1}; }

}  // namespace

void widened_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                     int threads) {
  Tensor left = room_for(pool, a), right = room_for(pool, b);
  widen(a, left, threads);
  widen(b, right, threads);
  if (c.type == DataType::float32) {
    return onednn_product(pool, matrix_of(std::as_const(left)), matrix_of(std::as_const(right)), c, output, threads);
  }
  Tensor sum = room_for(pool, c);
  if (output == Output::accumulate) widen(c, sum, threads);
  onednn_product(pool, matrix_of(std::as_const(left)), matrix_of(std::as_const(right)), matrix_of(sum), output,
                 threads);
  const auto* const sums = std::as_const(sum).data<float>();
  auto* const target = static_cast<bfloat16*>(c.data);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t j = 0; j < c.columns; ++j) target[i * c.row_stride + j] = sums[i * c.columns + j];
  }
}

std::int64_t widened_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  const std::int64_t sums = c.type == DataType::float32 ? 0 : c.rows * c.columns;
  const std::int64_t elements = a.rows * a.columns + b.rows * b.columns + sums;
  const Matrix wide_c{nullptr, DataType::float32, c.rows, c.columns, c.columns};
  return elements * static_cast<std::int64_t>(sizeof(float)) +
         onednn_product_bytes(dense(a), dense(b), wide_c, threads);
}

}  // namespace palimpsest::products
