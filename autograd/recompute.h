// Time for memory: a part of the computation that keeps only its inputs and runs again in backward.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "autograd/tape.h"

namespace palimpsest {

using RecomputedFunction = std::function<std::vector<Variable>(Tape&, std::span<const Variable>)>;

/// function(tape, inputs), of which nothing but inputs and outputs is kept. The function runs first
/// on a preview tape and again, recording, when backward reaches it; it must be deterministic and
/// must not keep its variables. Gradients reach `inputs` and whatever leaves (parameters) the
/// function has captured, with the same bits as without recomputation. Outputs require a
/// gradient as they would without it, and where none does, nothing is recorded; scalars known only in backward
/// (linear_cross_entropy) get their value then. On a tape that does not record it simply calls the function.
std::vector<Variable> recompute(Tape& tape, RecomputedFunction function, std::vector<Variable> inputs);

}  // namespace palimpsest
