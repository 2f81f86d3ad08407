// Which parameters a run trains (train.trainable), and at rates of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "optim/optimizer_config.h"

namespace palimpsest {

/// Trains the parameters that one of `patterns` means (optim/parameter_patterns.h) and freezes the others. No patterns
/// mean those of LoRA, in a model that has it, else all. Throws ConfigError on a pattern that means no parameter, with
/// the names nearest to it.
/// Returns how many elements are trained.
std::int64_t choose_trained(std::vector<std::string> patterns, ParameterList& parameters);

/// Throws ConfigError where an entry of optimizer.learning_rate_multipliers means no parameter that is trained.
void require_trained(const std::vector<LearningRateMultiplier>& multipliers, const ParameterList& parameters);

}  // namespace palimpsest
