// Matrix products of float32 and bfloat16 by our own micro-kernel of vectors, in blocks that stay in the caches.
#pragma once

#include "core/matrix.h"
#include "core/storage.h"
#include "core/work_shares.h"

namespace palimpsest::products {

/// Whether this build's target has the instructions that make vector_product fast for operands of `type`: AVX2 with
/// fused multiplication and addition or AVX-512, and of bfloat16 its products.
bool vectors_have_instructions(DataType type);

/// Whether vector_product takes such a product well: enough rows.
bool vectors_suit(const ConstMatrix& a, const ConstMatrix& b);

/// c <- addend + a b for what `matmul` has checked: float32 -> float32, bfloat16 -> bfloat16 or float32, no extent
/// zero; `addend` has the extents and type of c and may be c, or its data are null for none. On `threads` OpenMP
/// threads, or on the calling one inside a parallel region. Each element is summed in one order, whatever the number of
/// threads.
void vector_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                    const Matrix& c, int threads);

/// Bytes of scratch memory that it takes from the pool; the operands' data are not looked at.
std::int64_t vector_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

/// What each thread does in it.
ProductShares vector_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest::products
