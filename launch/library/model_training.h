// Training a model on batches that the caller makes, in one process: the training step of `palimpsest train` without
// its run directory, data files and schedule of checkpoints.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "configs/run_config.h"
#include "core/storage.h"
#include "core/token_batch.h"
#include "launch/library/model.h"
#include "launch/training/step_observer.h"
#include "launch/training/training_step.h"

namespace palimpsest {

/// A batch with a sequence in each lane, of which every token is predicted from those before it: one input less than
/// the longest has tokens. What is filled up behind a shorter one counts for no loss and is not written to a memory,
/// but takes up positions: after a shorter one a text of its own had better begin. `document` names the text that they
/// belong to (TokenBatch::documents): where memory is carried from batch to batch, the same as before goes on with that
/// of the lane, a larger one begins with none. Throws DataError on a sequence of fewer than two tokens.
TokenBatch make_batch(std::span<const std::vector<std::int32_t>> sequences, std::int64_t document = 0);

class ModelTraining {
 public:
  /// Of the configuration `train`, `optimizer` and `loss_spike` count; a batch has train.batch_size lanes, train.steps
  /// is what the learning rate's schedule reaches to, and train.sequence_length the length by which `automatic`
  /// schedule and recomputation are chosen. The optimizer begins anew. Throws ConfigError on what cannot be. The model
  /// must outlive this; it is another one after each step, to which texts begun before do not belong.
  ModelTraining(Model& model, const RunConfig& config);

  /// Forward, backward and update. A step that is skipped says so and why (StepResult); after train.max_skipped_steps
  /// in a row it throws NumericalError. Throws ShapeError when the batch's arrays do not have the sizes that it states
  /// or it has other lanes than train.batch_size, and DataError on a token outside the vocabulary and on document
  /// numbers that decrease.
  StepResult step(const TokenBatch& batch);

  const RunConfig& config() const { return config_; }
  /// Of this training alone.
  const Progress& progress() const { return state_.progress; }

 private:
  class NoObserver final : public StepObserver {
    void enter(Phase) override {}
  };

  void require_sound(const TokenBatch& batch) const;

  Model& model_;
  RunConfig config_;
  MemoryPool pool_;  // what a step uses, and the optimizer's state
  NoObserver observer_;
  TrainingStep step_;
  StepState state_;
};

}  // namespace palimpsest
