// Differentiable elementwise operators.
#pragma once

#include "autograd/tape.h"

namespace palimpsest {

/// a + b, of the same shape and type. Throws ShapeError on a mismatch.
Variable add(Tape& tape, const Variable& a, const Variable& b);

/// 1 / (1 + e^-x) of a few numbers.
Variable sigmoid(Tape& tape, const Variable& x);

}  // namespace palimpsest
