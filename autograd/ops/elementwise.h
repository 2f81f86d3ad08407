// Differentiable elementwise operators.
#pragma once

#include "autograd/tape.h"

namespace palimpsest {

/// a + b, of the same shape and type. Throws ShapeError on a mismatch.
Variable add(Tape& tape, const Variable& a, const Variable& b);

}  // namespace palimpsest
