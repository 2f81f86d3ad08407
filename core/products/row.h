// The product of one row with a transposed matrix, as decoding token by token needs it: each weight is
// used once, so the speed of memory bounds it, not that of arithmetic.
#pragma once

#include "core/matrix.h"

namespace palimpsest::products {

/// Whether the left operand is one row and the right one stored transposed, as in a linear layer of one token.
bool row_suits(const ConstMatrix& a, const ConstMatrix& b);

/// c <- a b, or c <- c + a b, for what row_suits: float32 -> float32, bfloat16 -> bfloat16 or float32, no extent zero.
/// Sums run in float32, in an order that does not depend on the number of threads.
void row_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output);

}  // namespace palimpsest::products
