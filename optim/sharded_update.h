// A step of an optimiser whose parameters are shared out over ranks.
#pragma once

#include "core/comm/communicator.h"
#include "optim/optimizer.h"

namespace palimpsest {

/// Collective. Optimizer::update of this rank's share of every parameter, and then everybody's shares of the masters
/// on every rank: those of one parameter travel while the next is updated. Whole parameters are the same everywhere
/// and do not travel.
void update_shared_out(Optimizer& optimizer, ParameterList& parameters, const LearningRates& rates,
                       double gradient_scale, Communicator& communicator);

}  // namespace palimpsest
