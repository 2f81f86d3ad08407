#include "optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace palimpsest {

namespace {

double share_of_peak(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps) {
  const std::int64_t number = step + 1;
  if (number <= config.warmup_steps) return static_cast<double>(number) / static_cast<double>(config.warmup_steps);
  const std::int64_t start =
      std::max(config.warmup_steps, static_cast<std::int64_t>(config.decay_start * static_cast<double>(total_steps)));
  if (number <= start) return 1;
  const std::int64_t decay_steps = std::max<std::int64_t>(total_steps - start, 1);
  const double progress = std::min(1.0, static_cast<double>(number - start) / static_cast<double>(decay_steps));
  const double ratio = config.final_learning_rate_ratio;
  switch (config.decay) {
    case Decay::cosine: return ratio + (1 - ratio) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    case Decay::linear: return 1 - (1 - ratio) * progress;
    case Decay::constant: return 1;
  }
  throw ConfigError("unknown learning rate decay");
}

}  // namespace

LearningRates learning_rate_at(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps) {
  const double share = share_of_peak(config, step, total_steps);
  return {config.learning_rate * share, config.memory_gate_learning_rate * share};
}

}  // namespace palimpsest
