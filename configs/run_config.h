// Everything that defines a run. Each section is the struct of the component that it is for, declared beside the
// component, or under configs/options/ for those of launch/, which stands above configs/. configs/schema.h describes
// every key once, for the YAML reader and writer and for docs/configuration.md.
#pragma once

#include "configs/options/checkpoint_config.h"
#include "configs/options/distillation_config.h"
#include "configs/options/evaluation_config.h"
#include "configs/options/loss_spike_config.h"
#include "configs/options/train_config.h"
#include "data/data_config.h"
#include "layers/model_config.h"
#include "optim/optimizer_config.h"

namespace palimpsest {

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  DistillationConfig distillation;
  OptimizerConfig optimizer;
  LossSpikeConfig loss_spike;
  EvaluationConfig evaluation;
  CheckpointConfig checkpoint;
};

/// Checks what keys say about each other, as far as neither data nor the number of ranks is needed.
/// Throws ConfigError that names the keys and their values.
void validate(const RunConfig& config);

}  // namespace palimpsest
