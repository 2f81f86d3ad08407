// Which parameters a run trains (train.trainable).
#pragma once

#include <string>
#include <vector>

#include "autograd/parameter.h"

namespace palimpsest {

/// Trains the parameters that one of `patterns` means (optim/parameter_patterns.h), or all if there is none, and
/// freezes the others. Throws ConfigError on a pattern that means no parameter, with the names nearest to it.
void choose_trained(const std::vector<std::string>& patterns, ParameterList& parameters);

}  // namespace palimpsest
