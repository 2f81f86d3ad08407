// Products of bfloat16 on machines without instructions for them: through copies in float32, by oneDNN.
#pragma once

#include "core/matrix.h"
#include "core/storage.h"

namespace palimpsest::products {

/// c <- a b, or c <- c + a b; a and b are bfloat16, c is bfloat16 or float32, no extent is zero.
void widened_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                     int threads);

/// Bytes that it takes from the pool; the operands' data are not looked at.
std::int64_t widened_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest::products
