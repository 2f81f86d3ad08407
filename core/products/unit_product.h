// Matrix products of float32 and bfloat16 by the matrix units, in blocks that stay in the caches.
#pragma once

#include "core/matrix.h"
#include "core/storage.h"

namespace palimpsest::products {

/// Whether unit_product takes such a product well: there are matrix units, enough rows, and enough
/// to compute for what packing costs.
bool units_suit(const ConstMatrix& a, const ConstMatrix& b);

/// c <- a b, or c <- c + a b, as vector_product (core/products/vector_product.h) does it, where has_matrix_units().
void unit_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                  int threads);

/// c <- addend + a b, with an addend of c's extents and type in rows of its own.
void unit_product_added(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                        const Matrix& c, int threads);

/// Bytes of scratch memory that it takes from the pool; the operands' data are not looked at.
std::int64_t unit_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

/// Multiplications of each thread.
std::vector<double> unit_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest::products
