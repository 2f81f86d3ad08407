// A differentiable bias.
#pragma once

#include "autograd/tape.h"

namespace palimpsest {

/// x + bias: x (rows..., columns), bias (columns) in the accumulate type of x. The gradient of x is that of the result,
/// shared without a copy. Throws ShapeError on a mismatch.
Variable add_bias(Tape& tape, const Variable& x, const Variable& bias);

}  // namespace palimpsest
