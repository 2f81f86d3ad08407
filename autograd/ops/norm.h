// Differentiable normalisation.
#pragma once

#include "autograd/tape.h"

namespace palimpsest {

/// Root mean square normalisation (Zhang, Sennrich 2019): y = x / sqrt(mean(x^2) + epsilon) * weight
/// over the last axis. x (rows..., columns), weight (columns) in the accumulate type of x. Keeps x
/// and one number a row for backward. Throws ShapeError on a mismatch.
Variable rms_norm(Tape& tape, const Variable& x, const Variable& weight, double epsilon);

/// The same over each head by itself: x (rows..., heads * columns), weight (columns) for all heads.
Variable head_rms_norm(Tape& tape, const Variable& x, const Variable& weight, double epsilon);

}  // namespace palimpsest
