#include "configs/run_config.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

void validate(const RunConfig& config) {
  ModelConfig model = config.model;
  model.vocab_size = std::max<std::int64_t>(model.vocab_size, 1);  // 0 is filled in from the tokenizer
  static_cast<void>(model.resolved());

  const TrainConfig& train = config.train;
  if (train.micro_batch_size > 0 && train.batch_size % train.micro_batch_size != 0) {
    throw ConfigError(fmt::format("train.batch_size {} is not a multiple of train.micro_batch_size {}",
                                  train.batch_size, train.micro_batch_size));
  }
  if (train.schedule == Schedule::parallel && train.recompute == Recompute::segment) {
    throw ConfigError("train.recompute segment needs train.schedule sequential or automatic, found parallel");
  }
  if (train.run_directory.empty()) throw ConfigError("train.run_directory is empty: checkpoints need a place");
  if (config.evaluation.every > 0 && config.data.validation.empty()) {
    throw ConfigError(
        fmt::format("evaluation.every is {} but data.validation names no token file", config.evaluation.every));
  }
}

}  // namespace palimpsest
