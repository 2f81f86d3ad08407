// The learning rate of every step: linear warm-up, then decay.
#pragma once

#include <cstdint>

#include "autograd/parameter.h"
#include "optim/optimizer_config.h"

namespace palimpsest {

/// The rates of one step: the memory's gates and decays have their own peak and the same shape.
struct LearningRates {
  double model = 0;
  double memory_gate = 0;

  double of(ParameterRole role) const { return is_memory_logit(role) ? memory_gate : model; }
};

/// The rates of update number `step` (counted from 0) out of `total_steps`, as a share of the peak
/// with n = step + 1, W = warmup_steps, r = final_learning_rate_ratio:
///   n <= W: n / W;   n <= S = max(W, decay_start total_steps): 1;
///   else, with x = (n - S) / (total_steps - S) held at 1 beyond the last step:
///   cosine: r + (1 - r) (1 + cos(pi x)) / 2;   linear: 1 - (1 - r) x;   constant: 1.
/// So update S runs at the peak and the last update at r times the peak (constant: at the peak).
LearningRates learning_rate_at(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps);

}  // namespace palimpsest
