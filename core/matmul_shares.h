// How the threads share a matrix product (core/matmul.h).
#pragma once

#include "core/matrix.h"
#include "core/work_shares.h"

namespace palimpsest {

/// The shares of `threads` threads in a product by our own kernels; empty for what others compute. The operands' data
/// are not looked at.
ProductShares matmul_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest
