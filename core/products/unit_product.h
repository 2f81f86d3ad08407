// Matrix products of float32 and bfloat16 by the matrix units, in blocks that stay in the caches. Each element of the
// result is summed in one order, whatever the number of threads.
#pragma once

#include "core/gemm.h"

namespace palimpsest::products {

/// Whether unit_product takes such a product well: there are matrix units, enough rows for every thread, and enough
/// to compute for what packing costs.
bool units_suit(const ConstMatrix& a, const ConstMatrix& b, int threads);

/// c <- a b, or c <- c + a b, as blocked_product (core/products/blocked_product.h) does it, where has_matrix_units().
void unit_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads);

}  // namespace palimpsest::products
