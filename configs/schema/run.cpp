// The sections of a run's configuration.
#include "configs/schema.h"

namespace palimpsest {

void describe(RunConfig& config, SchemaVisitor& visitor) {
  visitor.section("model", config.model, "The shape and the mathematics of the model.");
  visitor.section("data", config.data, "Token files, as `palimpsest pack` writes them.");
  visitor.section("train", config.train, "The training run.");
  visitor.section("distillation", config.distillation,
                  "Learning from a frozen model that sees further than a segment (docs/continued-training.md).");
  visitor.section("optimizer", config.optimizer, "The optimizer and its learning rate.");
  visitor.section("loss_spike", config.loss_spike, "What to do about a loss that jumps.");
  visitor.section("evaluation", config.evaluation,
                  "Evaluation of the validation split, and of further token files, while training.");
  visitor.section("checkpoint", config.checkpoint, "Checkpoints in `train.run_directory`.");
}

}  // namespace palimpsest
