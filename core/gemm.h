// Matrix products: our own kernel or oneDNN for float32 and bfloat16, a plain loop for float64 (tests only).
#pragma once

#include <cstdint>
#include <string>

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

/// The tensor as a matrix of shape().rows() rows.
ConstMatrix matrix_of(const Tensor& tensor);
Matrix matrix_of(Tensor& tensor);

template <class T>
ConstMatrix matrix(const T* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride) {
  return {data, data_type_of<T>, rows, columns, row_stride, 1};
}
template <class T>
Matrix matrix(T* data, std::int64_t rows, std::int64_t columns, std::int64_t row_stride) {
  return {data, data_type_of<T>, rows, columns, row_stride};
}

enum class Output { overwrite, accumulate };

/// c <- a b, or c <- c + a b. Types: float32 x float32 -> float32, bfloat16 x bfloat16 -> bfloat16
/// or float32, float64 x float64 -> float64; sums run in float32 (float64). Uses all OpenMP threads,
/// or only the calling one when called inside a parallel region. An inner extent of zero gives zero.
/// The same shapes, strides and thread count give the same bits. Throws ShapeError on a mismatch.
void matmul(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output = Output::overwrite);

/// The instructions by which results differ, those that oneDNN uses on this machine and those that this program was
/// built for, like "avx512_core_amx (built for avx512_bf16)": others give other bits.
std::string instruction_set();

/// Whether products run through matrix units (AMX): the build's target and the machine have them, and
/// DNNL_MAX_CPU_ISA does not keep them out.
bool matmul_uses_matrix_units();

/// Whether this machine multiplies bfloat16 matrices faster than float32 ones: native instructions,
/// and a product that agrees with float32. Where it does not, matmul of bfloat16 still works, through
/// float32 copies.
bool has_native_bfloat16();

}  // namespace palimpsest
