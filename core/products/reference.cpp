#include "core/products/reference.h"

#include <algorithm>

#include <omp.h>

namespace palimpsest::products {

void reference_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const auto* left = static_cast<const double*>(a.data);
  const auto* right = static_cast<const double*>(b.data);
  auto* out = static_cast<double*>(c.data);
#pragma omp parallel for schedule(static) if (!omp_in_parallel() && a.rows * b.columns * a.columns > 32768)
  for (std::int64_t i = 0; i < c.rows; ++i) {
    double* const row = out + i * c.row_stride;
    if (output == Output::overwrite) std::fill(row, row + c.columns, 0.0);
    for (std::int64_t k = 0; k < a.columns; ++k) {
      const double factor = left[i * a.row_stride + k * a.column_stride];
      const double* const b_row = right + k * b.row_stride;
      for (std::int64_t j = 0; j < c.columns; ++j) row[j] += factor * b_row[j * b.column_stride];
    }
  }
}

}  // namespace palimpsest::products
