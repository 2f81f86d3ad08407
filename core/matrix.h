// Matrices inside buffers of their owners: what products take and give.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/data_type.h"
#include "core/tensor.h"

namespace palimpsest {

/// A matrix inside a buffer. One of the two strides (in elements) is 1; swapping them transposes.
struct ConstMatrix {
  const void* data = nullptr;
  DataType type = DataType::float32;
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_stride = 0, column_stride = 1;

  ConstMatrix transposed() const { return {data, type, columns, rows, column_stride, row_stride}; }
};

/// A row-major matrix that can be written.
struct Matrix {
  void* data = nullptr;
  DataType type = DataType::float32;
  std::int64_t rows = 0, columns = 0;
  std::int64_t row_stride = 0;

  operator ConstMatrix() const { return {data, type, rows, columns, row_stride, 1}; }
  ConstMatrix transposed() const { return ConstMatrix(*this).transposed(); }
};

/// What becomes of the values that a result finds in its place.
enum class Output { overwrite, accumulate };

/// The tensor as a matrix of shape().rows() rows.
inline ConstMatrix matrix_of(const Tensor& tensor) {
  const std::int64_t columns = tensor.shape()[-1];
  return {tensor.raw().data(), tensor.data_type(), tensor.shape().rows(), columns, columns, 1};
}
inline Matrix matrix_of(Tensor& tensor) {
  const std::int64_t columns = tensor.shape()[-1];
  return {tensor.raw().data(), tensor.data_type(), tensor.shape().rows(), columns, columns};
}

template <class T>
ConstMatrix matrix(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride) {
  return {data, data_type_of<T>, rows, columns, row_stride, 1};
}
template <class T>
Matrix matrix(T* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride) {
  return {data, data_type_of<T>, rows, columns, row_stride};
}

/// What products take for granted of a matrix that is not empty, asserted by debug builds: memory for whole elements,
/// and rows, or columns of a transposed one, that do not overlap.
inline bool is_well_formed(const ConstMatrix& m) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(m.data) % size_of(m.type) == 0;
  const bool plain = m.column_stride == 1 && (m.rows == 1 || m.row_stride >= m.columns);
  const bool transposed = m.row_stride == 1 && (m.columns == 1 || m.column_stride >= m.rows);
  return m.data != nullptr && aligned && (plain || transposed);
}

/// Whether two matrices that are not empty lie in the same stretch of memory.
inline bool overlap(const ConstMatrix& a, const ConstMatrix& b) {
  const auto begin = [](const ConstMatrix& m) { return reinterpret_cast<std::uintptr_t>(m.data); };
  const auto end = [&](const ConstMatrix& m) {
    const std::int64_t last = (m.rows - 1) * m.row_stride + (m.columns - 1) * m.column_stride;
    return begin(m) + static_cast<std::size_t>(last + 1) * size_of(m.type);
  };
  return begin(a) < end(b) && begin(b) < end(a);
}

}  // namespace palimpsest
