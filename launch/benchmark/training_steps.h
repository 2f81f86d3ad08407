// Training steps on a synthetic batch, with a clock at every phase.
#pragma once

#include <cstdint>
#include <memory>

#include "configs/run_config.h"
#include "core/comm/counting_communicator.h"
#include "core/token_batch.h"
#include "launch/benchmark/benchmark.h"
#include "launch/training/run_plan.h"
#include "layers/language_model.h"
#include "optim/gradient_reducer.h"
#include "optim/optimizer.h"
#include "optim/sharded_update.h"

namespace palimpsest {

/// One document of random tokens per lane.
TokenBatch synthetic_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t vocabulary);

class TrainingSteps {
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

  /// Collective: a step with everything but data and logs. Adds the times of its phases, divided by `steps`, to
  /// `result` unless that is null.
  void step(BenchmarkResult* result, std::int64_t steps);

  /// Collective. Seconds of a step's communication with nothing to hide behind, the fastest of a few times: the
  /// gradients' sums and, where the optimiser is sharded, the parameters' way back.
  double communication_alone();
  std::int64_t optimizer_bytes() { return static_cast<std::int64_t>(optimizer_->state_bytes()); }

 private:
  void accumulate_gradients(OperatorProfile* profile);

  const Setting setting_;
  Communicator& communicator_;
  Communicator* sequence_ranks_;
  CountingCommunicator counting_;
  ParameterShares shares_;
  std::unique_ptr<Optimizer> optimizer_;
  GradientReducer reducer_;
  ShardedUpdate update_;
  TokenBatch batch_;
  std::int64_t done_ = 0;
};

}  // namespace palimpsest
