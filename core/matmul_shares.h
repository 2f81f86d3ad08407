// How the threads share a matrix product (core/matmul.h).
#pragma once

#include <vector>

#include "core/matrix.h"

namespace palimpsest {

/// Multiplications of each of `threads` threads in a product by our own kernels; empty for what others compute. The
/// operands' data are not looked at.
std::vector<double> matmul_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

}  // namespace palimpsest
