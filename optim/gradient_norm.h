// The global gradient norm and the factor that clips it.
#pragma once

#include "autograd/parameter.h"

namespace palimpsest {

/// The Euclidean norm of all gradients together, summed in double in a fixed order: its bits do not
/// depend on the number of threads. Not finite as soon as one gradient is not.
double global_gradient_norm(const ParameterList& parameters);

/// min(1, clip_norm / norm), or 1 where clip_norm is 0: what Optimizer::update multiplies gradients
/// by, so that clipping costs no pass of its own.
double clip_factor(double norm, double clip_norm);

}  // namespace palimpsest
