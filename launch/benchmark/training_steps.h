// Training steps on a synthetic batch, with a clock at every phase.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "configs/run_config.h"
#include "core/comm/communication_counter.h"
#include "core/token_batch.h"
#include "launch/benchmark/benchmark.h"
#include "launch/training/training_step.h"

namespace palimpsest {

/// One document of random tokens per lane.
TokenBatch synthetic_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t vocabulary);

/// The steps that `train` takes (launch/training/training_step.h), without data and logs.
class TrainingSteps final : private StepObserver {
 public:
  /// What the steps share with the benchmark; all must outlive them.
  struct Setting {
    const RunConfig& config;
    const PassPlan& plan;
    const LanePlan& lanes;
    LanguageModel& model;
    MemoryPool& state_pool;
    MemoryPool& step_pool;
  };
  /// `sequence_ranks`: those that share each sequence, null for none.
  TrainingSteps(const Setting& setting, Communicator& communicator, Communicator* sequence_ranks);

  /// Collective: a step. Adds the times of its phases, divided by `steps`, to `result` unless that is null.
  void step(BenchmarkResult* result, std::int64_t steps);

  /// Collective. Seconds of a step's communication with nothing to hide behind, the fastest of a few times: the
  /// gradients' sums and, where the optimiser is sharded, the parameters' way back.
  double communication_alone();
  std::int64_t optimizer_bytes() { return static_cast<std::int64_t>(step_.optimizer().state_bytes()); }

 private:
  using Clock = std::chrono::steady_clock;

  void enter(Phase phase) override;
  OperatorProfile* profile() override { return profile_; }

  Communicator& communicator_;
  CommunicationCounter counter_;
  TrainingStep step_;
  StepState state_;
  TokenBatch batch_;
  // Of the step under way.
  OperatorProfile* profile_ = nullptr;
  bool computed_ = false;  // forward has begun: the communication that follows is that of gradients
  Clock::time_point waiting_, communicating_, updating_;
  std::optional<CommunicationObservation> counted_;
};

}  // namespace palimpsest
