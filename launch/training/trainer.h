// Training from a configuration to the last step: `train` reads from top to bottom what happens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "data/stream/token_source.h"
#include "data/tokens/token_file.h"
#include "launch/inference/evaluation.h"
#include "launch/output/progress.h"
#include "launch/ranks/threads.h"
#include "launch/training/components.h"
#include "launch/training/event_log.h"
#include "launch/training/initial_weights.h"
#include "launch/training/metrics.h"
#include "launch/training/run_checkpoints.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_guard.h"
#include "launch/training/run_log.h"
#include "launch/training/summary_evaluation.h"
#include "launch/training/teacher.h"
#include "launch/training/training_step.h"
#include "layers/language_model.h"

namespace palimpsest {

/// A token file that is evaluated while training.
struct EvaluatedFile {
  std::string name;  // "validation", or of a set
  TokenFile file;
};

class Trainer {
 public:
  /// Opens the data and the run directory and builds the model; nothing is trained yet. Throws
  /// ConfigError, FileError or DataError on what cannot work. `open_stored` opens train.initial_weights. Collective,
  /// like everything here.
  Trainer(const RunConfig& config, Communicator& communicator, OpenStoredModel open_stored = open_checkpoint_model);

  /// Resumes from the run directory's newest checkpoint, if there is one, and trains to the last
  /// step, or to step `stop_after` if that is positive. Returns an exit code: ok, time_limit, or 128 + the
  /// signal that stopped the run; either way a checkpoint of the last step was saved. Throws
  /// NumericalError, naming the first parameter concerned, after too many steps that are not finite.
  int run(std::int64_t stop_after = 0);

 private:
  int train(std::int64_t stop_after);
  StepResult take_step();
  /// Says that a step was skipped, or its loss is odd. Throws NumericalError when it was one too many in a row.
  void heed(const StepResult& result);
  void log_step(const StepResult& result);
  int stop_early(const StopReason& reason);

  /// What a rank keeps beside the model, for the plan.
  Kept kept() const;
  /// What goes into checkpoints.
  Components components();
  /// Continues from the newest checkpoint. If there is none, begins with train.initial_weights, if these are named.
  void resume();
  void take_initial_weights();
  void start_checkpoint();
  void append_metrics(const nlohmann::ordered_json& line);
  /// Returns when there is a checkpoint of the last step. Throws WriteError when it could not be saved.
  void ensure_checkpoint();

  // launch/training/trainer_evaluation.cpp

  bool evaluation_due(std::int64_t step) const;
  /// By token file: whether the step that the run begins or has resumed with should have been evaluated, and was not:
  /// it is the first of all, or the run was stopped or killed before the evaluation was through. Collective.
  std::vector<bool> evaluations_owed();
  /// Bytes that a pass without gradients may take beside what training keeps.
  std::int64_t evaluation_budget();
  /// Evaluates these token files and remembers the results, unless a signal or the time limit stops it between two
  /// batches: then some have none, and the run has to end. Checkpoints under way are moved on meanwhile.
  StopReason evaluate(const std::vector<bool>& chosen);
  StopReason evaluate_all() { return evaluate(std::vector<bool>(evaluated_.size(), true)); }
  /// Null when it was stopped, for which `stop` says why.
  std::optional<EvaluationResult> evaluate(const EvaluatedFile& evaluated, StopReason& stop);
  void log_evaluation(const EvaluatedFile& evaluated, const EvaluationResult& result);

  bool summaries_due(std::int64_t step) const;
  /// As evaluations_owed.
  bool summaries_owed();
  /// Writes and measures summaries, unless it is stopped, as `evaluate` is.
  StopReason evaluate_summaries();

  OpenStoredModel open_stored_;
  RunGuard guard_;
  Communicator& communicator_;
  std::unique_ptr<TokenSource> source_;
  std::vector<EvaluatedFile> evaluated_;
  RunConfig config_;                              // resolved
  std::unique_ptr<Communicator> sequence_ranks_;  // that share this rank's sequences; null: it has them alone
  LaneRun lanes_;                                 // of this rank
  RunDirectory directory_;
  RunLog log_;
  ThreadPlan threads_;     // before anything that computes
  MemoryPool state_pool_;  // parameters and optimiser
  MemoryPool step_pool_;   // what a step uses
  LanguageModel model_;
  std::optional<Teacher> teacher_;  // with distillation.share
  std::int64_t trained_;            // elements of parameters; the others are frozen
  TrainingStep step_;
  StepState state_;
  TokenizerRecord tokenizer_;
  std::optional<SummaryEvaluation> summaries_;
  RunCheckpoints checkpoints_;
  std::optional<MetricsLog> metrics_;  // rank 0
  std::optional<MetricsLog> gates_;    // rank 0, of a model that has gates
  std::optional<EventLog> events_;     // rank 0, with train.tensorboard
  Pace pace_;
  LeastLosses least_losses_;  // of what was evaluated; rank 0
  MixedLosses mixed_losses_;  // since the last line
  struct {
    std::int64_t steps = 0;
    double seconds = 0;
  } unlogged_;                     // since the last logged step
  double evaluation_seconds_ = 0;  // of the last evaluation of token files
};

}  // namespace palimpsest
