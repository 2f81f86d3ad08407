// The plain loop: products of float64, which only tests and golden vectors need.
#pragma once

#include "core/matrix.h"

namespace palimpsest::products {

/// c <- a b, or c <- c + a b, of float64. On all OpenMP threads, or on the calling one inside a parallel region.
void reference_product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output);

}  // namespace palimpsest::products
