// Training from a configuration to the last step: `run` reads from top to bottom what happens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "data/segment_stream.h"
#include "data/token_file.h"
#include "launch/checkpoint/checkpointer.h"
#include "launch/output/progress.h"
#include "launch/ranks/rank_status.h"
#include "launch/ranks/start_guard.h"
#include "launch/ranks/watchdog.h"
#include "launch/ranks/watched_communicator.h"
#include "launch/training/loss_spike.h"
#include "launch/training/metrics.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_lock.h"
#include "launch/training/run_log.h"
#include "launch/training/stop_request.h"
#include "launch/training/time_limit.h"
#include "launch/training/training_state.h"
#include "layers/language_model.h"
#include "layers/pass_plan.h"
#include "optim/gradient_reducer.h"
#include "optim/optimizer.h"
#include "optim/sharded_update.h"

namespace palimpsest {

class Trainer {
 public:
  /// Opens the data and the run directory and builds the model; nothing is trained yet. Throws
  /// ConfigError, FileError or DataError on what cannot work. Collective, like everything here.
  Trainer(const RunConfig& config, Communicator& communicator);

  /// Resumes from the run directory's newest checkpoint, if there is one, and trains to the last
  /// step, or to step `stop_after` if that is positive. Returns an exit code: ok, time_limit, or 128 + the
  /// signal that stopped the run; either way a checkpoint of the last step was saved. Throws
  /// NumericalError, naming the first parameter concerned, after too many steps that are not finite.
  int run(std::int64_t stop_after = 0);

 private:
  struct StepOutcome {
    StepMetrics metrics;
    int signal = 0;            // of any rank
    bool out_of_time = false;  // train.time_limit leaves no time for another step

    bool stop() const { return signal != 0 || out_of_time; }
  };

  int train(std::int64_t stop_after);
  /// Continues from the newest checkpoint, if there is one.
  void resume();
  /// Takes parameters, optimiser, memory and position in the data from a checkpoint. Throws FileError when it
  /// is damaged, ConfigError when it is of another run.
  /// Returns what of the configuration has changed since.
  std::vector<std::string> restore(const Checkpoint& checkpoint);
  void print_banner();
  void print_placements();
  StepOutcome train_step();
  int stop_early(const StepOutcome& outcome);
  bool evaluation_due(std::int64_t step) const;
  /// Back-propagates this rank's lanes. Returns their weighted sum of negative log-likelihoods.
  double accumulate_gradients(const TokenBatch& batch, double loss_scale);
  /// Whether this rank speaks for the ranks that share its sequences, where something counts once.
  bool leads_sequence_group() const;
  /// Counts this step as skipped, all ranks alike. Throws NumericalError when it was one too many in a row.
  void skip_step(const std::string& reason);
  /// Which rank's loss, or which tensor, was the first that is not finite. `memories` are those before the step.
  /// Collective; rank 0 gets the text of the rank concerned.
  std::string explain_not_finite(const std::vector<MemoryState>& memories, bool own_loss_finite);
  void log_step(const StepOutcome& outcome);
  void evaluate_validation();
  /// Begins to save a checkpoint, after an earlier one is through.
  void start_checkpoint();
  /// Waits for the save under way. Throws WriteError when it failed and `required`.
  void finish_checkpoint(bool required);
  /// Logs how a save ended, if one has. Throws WriteError when it failed, as checkpoint.on_failure says.
  void report_checkpoint(const std::optional<Checkpointer::Outcome>& outcome, bool required = false);
  // What a checkpoint holds of the model and the optimiser; the tensors are theirs.
  struct CheckpointTensors {
    StateDictionary replicated, owned;  // by all ranks, and by this one
  };
  CheckpointTensors checkpoint_tensors();
  /// The memory that this rank saves: of the ranks that share sequences, and have the same one, the first does.
  std::vector<MemoryState> own_memories() const;
  /// Has the memory for asynchronous saves made ready.
  void prepare_checkpoints();
  StateDictionary parameter_entries();
  StateDictionary optimizer_entries();
  TrainingState training_state();

  std::optional<StartGuard> start_guard_;  // until the watchdogs of all ranks are there
  RankStatus status_;
  WatchedCommunicator communicator_;
  TokenFile train_file_;
  std::optional<TokenFile> validation_file_;
  RunConfig config_;                              // resolved
  std::unique_ptr<Communicator> sequence_ranks_;  // that share this rank's sequences; null: it has them alone
  RunDirectory directory_;
  std::optional<RunLock> lock_;  // rank 0
  RunLog log_;
  StopRequest stop_request_;
  std::optional<Watchdog> watchdog_;
  TimeLimit time_limit_;
  LossSpikeDetector spikes_;
  int threads_ = 1;
  std::vector<std::string> placements_;  // a line a host
  PassPlan pass_plan_{};
  std::int64_t first_lane_ = 0;  // of this rank in the global batch
  MemoryPool state_pool_;        // parameters and optimiser
  MemoryPool step_pool_;         // what a step uses
  LanguageModel model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<GradientReducer> reducer_;
  std::optional<ShardedUpdate> update_;
  SegmentStream stream_;
  std::vector<MemoryState> memories_;  // one per micro batch, in the order of the lanes
  Checkpointer checkpointer_;
  std::optional<MetricsLog> metrics_;  // rank 0
  Pace pace_;

  std::int64_t step_ = 0;           // done
  std::int64_t resumed_step_ = 0;   // where this process began
  std::int64_t tokens_ = 0;         // predicted since the start of the run
  std::int64_t skipped_steps_ = 0;  // since the start of the run
  std::int64_t consecutive_skips_ = 0;
};

}  // namespace palimpsest
