// Matrix products of float32 and bfloat16 by the matrix units, in blocks that stay in the caches.
#pragma once

#include "core/matrix.h"
#include "core/storage.h"
#include "core/work_shares.h"

namespace palimpsest::products {

/// Whether unit_product takes such a product well: there are matrix units, enough rows, and enough
/// to compute for what packing costs.
bool units_suit(const ConstMatrix& a, const ConstMatrix& b);

/// c <- addend + a b as vector_product (core/products/vector_product.h) does it, where has_matrix_units().
void unit_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                  const Matrix& c, int threads);

/// Bytes of scratch memory that it takes from the pool; the operands' data are not looked at.
std::int64_t unit_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

/// What each thread does in it.
ProductShares unit_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest::products
