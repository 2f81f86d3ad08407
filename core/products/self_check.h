// Whether a product of bfloat16 is right on this machine, before anything is trained with it.
#pragma once

#include <functional>

#include "core/matrix.h"

namespace palimpsest::products {

/// c <- a b, or c <- c + a b, of bfloat16 into bfloat16 or float32.
using Product = std::function<void(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output)>;

/// Whether it multiplies small integers exactly, of which any order of sums gives the same: operands plain and
/// transposed, results of both types, written and added, extents that leave a rest of every block and panel.
bool is_exact(const Product& product);

/// The same of one row times a matrix stored transposed.
bool row_is_exact(const Product& product);

}  // namespace palimpsest::products
