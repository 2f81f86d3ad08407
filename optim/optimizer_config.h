// What the optimiser section of a run's configuration holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace palimpsest {

enum class OptimizerKind { adamw, adafactor };
enum class Decay { cosine, linear, constant };

/// By what the learning rate of some parameters is multiplied.
struct LearningRateMultiplier {
  std::string parameters;  // a pattern of their names (optim/parameter_patterns.h)
  double factor = 1;
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::adamw;
  double learning_rate = 3e-4;
  /// The gate's own peak learning rate: at the model's it would not move (field experience).
  double memory_gate_learning_rate = 0.01;
  std::vector<LearningRateMultiplier> learning_rate_multipliers;  // of those that mean a parameter the last one counts
  std::int64_t warmup_steps = 100;
  Decay decay = Decay::cosine;
  double decay_start = 0;  // share of all steps before which the rate stays at its peak; never before the warm-up ends
  /// The rate at the last step as a share of the peak.
  double final_learning_rate_ratio = 0.1;
  double weight_decay = 0.1;            // matrices and embeddings only
  double memory_gate_weight_decay = 0;  // of logits: toward one half
  double decay_toward_initial = 0;  // toward the weights that the run began with; but for the memory's own parameters
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double clip_norm = 1.0;  // 0: no clipping
  bool sharded = false;    // every rank keeps the state of its share and updates that (AdamW)

  // Adafactor (Shazeer and Stern 2018)
  double adafactor_decay_rate = 0.8;
  double adafactor_clip_threshold = 1.0;
  double adafactor_epsilon1 = 1e-30;
  double adafactor_epsilon2 = 1e-3;
  bool adafactor_scale_parameter = true;
};

}  // namespace palimpsest
