// Finds the first tensor that holds NaN or infinity.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "layers/memory_state.h"

namespace palimpsest {

/// In the order in which one spoils the next: parameters, then the memory of this rank's lanes before the step
/// (`memories` are those of its micro batches, `first_lane` the first of them in the global batch), then gradients.
/// "layers.0.mlp.up_proj.weight", "the memory of lane 3, layers.0", "the gradient of norm.weight"; empty when all is
/// finite.
std::string first_not_finite(const ParameterList& parameters, const std::vector<MemoryState>& memories,
                             std::int64_t first_lane);

}  // namespace palimpsest
