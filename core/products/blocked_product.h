// Matrix products of float32 and bfloat16 by our own micro-kernel, in blocks that stay in the caches. Each
// element of the result is summed in one order, whatever the number of threads.
#pragma once

#include "core/gemm.h"

namespace palimpsest::products {

/// Whether this build's target has the instructions that make blocked_product fast for operands of `type`:
/// AVX-512, and its bfloat16 products.
bool has_instructions(DataType type);

/// Whether blocked_product takes such a product well: enough rows for every thread.
bool suits(const ConstMatrix& a, const ConstMatrix& b, int threads);

/// c <- a b, or c <- c + a b, for what `matmul` has checked: float32 -> float32, bfloat16 -> bfloat16 or
/// float32, no extent zero. On `threads` OpenMP threads, or on the calling one inside a parallel region.
void blocked_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads);

}  // namespace palimpsest::products
