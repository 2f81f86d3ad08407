// The training step: the same one for `train`, `bench` and whatever else trains.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/token_batch.h"
#include "launch/training/loss_spike.h"
#include "launch/training/run_plan.h"
#include "launch/training/step_observer.h"
#include "layers/language_model.h"
#include "layers/pass_plan.h"
#include "optim/gradient_reducer.h"
#include "optim/optimizer.h"
#include "optim/sharded_update.h"

namespace palimpsest {

/// Counts what a run has done; the same on every rank.
struct Progress {
  std::int64_t step = 0;               // done
  std::int64_t tokens = 0;             // predicted
  std::int64_t skipped_steps = 0;      // because something was not finite, or of a loss spike
  std::int64_t consecutive_skips = 0;  // the last of these, if the last step was one
};

/// What a step takes and leaves, beside parameters and the optimiser's state.
struct StepState {
  Progress progress;
  std::int64_t first_lane = 0;  // of this rank in the global batch
  /// One per micro batch, lanes in order, and these for each of the places that lanes read in turn (train.interleave);
  /// none unless train.carry_memory.
  std::vector<SequenceState> memories;
};

/// The same on every rank.
struct StepResult {
  double loss = 0;                    // mean negative log-likelihood per token, nats, before the update; 0 without any
  double tokens = 0;                  // predicted: the sum of the loss weights
  double gradient_norm = 0;           // before clipping
  AnswerCounts answers;               // of the batch, where it has any
  std::vector<SourceTotals> sources;  // of each source of a mixture; none of anything else
  std::optional<double> divergence;   // from the teacher, mean per token, nats; none without one
  std::optional<ContrastTotals> contrast;  // of the queries that several documents are asked; none without such data
  LearningRates rates;
  StopReason stop;       // of any rank
  std::string warning;   // what was wrong with the loss or the gradients; on rank 0
  bool skipped = false;  // nothing was updated, because of that

  /// Where the whole batch is masked there is nothing to learn from: memories move on, no parameter does.
  bool has_targets() const { return tokens != 0; }
};

class TrainingStep {
 public:
  /// What the steps work with; all must outlive them.
  struct Setting {
    const RunConfig& config;  // resolved; its train, optimizer and loss_spike sections count
    LanePlan lanes;
    PassPlan plan;
    LanguageModel& model;
    MemoryPool& state_pool;  // the optimiser's state
    MemoryPool& step_pool;   // what a step uses
    Communicator& communicator;
    Communicator* sequence_ranks;  // that share each sequence; null for none
    StepObserver& observer;
    std::size_t sources = 0;                 // that the batches are a mixture of; 0: they are none
    const LanguageModel* teacher = nullptr;  // with distillation.share; null: none
  };

  /// The optimiser's state is zero. Freezes the parameters that train.trainable leaves out. Throws ConfigError where a
  /// pattern of it, or of optimizer.learning_rate_multipliers, means none. Collective, like everything here.
  explicit TrainingStep(const Setting& setting);

  /// Where a run begins: nothing done, every lane's memory empty.
  StepState empty_state() const;

  /// Forward, backward and update on this rank's lanes of a batch. Where a loss or the norm of the gradients is not
  /// finite on any rank, or the loss is a spike and loss_spike.policy says so, all ranks skip the update alike; in the
  /// first case the memory, which may be the cause or have been spoilt, is emptied. A batch without a target is
  /// read forward only and makes no update either, which is no skip. Updates may still be under way
  /// between ranks when this returns (`wait`).
  StepResult step(const TokenBatch& batch, StepState& state);

  /// Returns when every parameter is what the last update made it.
  void wait() { update_.wait_for_all(); }
  /// What of a step is communication of gradients and parameters, and nothing else; changes no parameter.
  void communicate();

  Optimizer& optimizer() { return *optimizer_; }
  LossSpikeDetector& spikes() { return spikes_; }
  const PassPlan& plan() const { return setting_.plan; }

 private:
  /// train.fresh_memory: the same lanes of the global batch on any number of ranks.
  void empty_some(std::span<SequenceState> memories, const StepState& state) const;
  /// Of the places that a step reads, one per micro batch; none unless train.carry_memory.
  std::span<SequenceState> memories_of_step(StepState& state) const;
  double total_weight(const TokenBatch& batch) const;
  /// Back-propagates this rank's lanes, counts their answers and adds up what is of each source and the divergences.
  /// Returns their weighted sum of negative log-likelihoods.
  double accumulate_gradients(const TokenBatch& batch, double loss_scale, std::span<SequenceState> memories,
                              StepResult& result);
  std::int64_t micro_batches() const { return setting_.lanes.per_rank / setting_.lanes.per_micro_batch; }

  const Setting setting_;
  ParameterShares shares_;
  std::unique_ptr<Optimizer> optimizer_;
  GradientReducer reducer_;
  ShardedUpdate update_;
  LossSpikeDetector spikes_;
};

}  // namespace palimpsest
