// Finds the first tensor that holds NaN or infinity, on one rank and among all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "core/comm/communicator.h"
#include "layers/layer_state.h"

namespace palimpsest {

/// In the order in which one spoils the next: parameters, then the memory of this rank's lanes before the step
/// (`memories` are those of its micro batches, `first_lane` the first of them in the global batch), then gradients.
/// "layers.0.mlp.up_proj.weight", "the memory of lane 3, layers.0.matrix", "the gradient of norm.weight"; empty when
/// all is finite.
std::string first_not_finite(const ParameterList& parameters, const std::vector<SequenceState>& memories,
                             std::int64_t first_lane);

/// Which rank's loss, or which tensor, was the first of a step that is not finite; `own_loss_finite` says whether this
/// rank's part of the loss is. Collective; rank 0 gets the text of the rank concerned.
std::string explain_not_finite(const ParameterList& parameters, const std::vector<SequenceState>& memories,
                               std::int64_t first_lane, bool own_loss_finite, Communicator& communicator);

}  // namespace palimpsest
