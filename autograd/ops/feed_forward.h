// The differentiable gate of the feed-forward layer.
#pragma once

#include "autograd/tape.h"

namespace palimpsest {

/// SwiGLU (Shazeer 2020): silu(gate) * up with silu(z) = z / (1 + exp(-z)); both of the same shape
/// and type. Keeps only its inputs for backward. Throws ShapeError on a mismatch.
Variable swiglu(Tape& tape, const Variable& gate, const Variable& up);

}  // namespace palimpsest
