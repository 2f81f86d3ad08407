// A training step leaves the same bits whatever the number of threads.
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "launch/training/training_step.h"
#include "tests/layers/random_batch.h"

namespace palimpsest {
namespace {

struct Silent final : StepObserver {
  void enter(Phase) override {}
  StopReason stop_reason() override { return {}; }
};

struct Size {
  std::int64_t vocabulary, hidden, heads, kv_heads, ffn, segment, lanes, tokens;
};
/// Products of a few rows and columns.
constexpr Size tiny{73, 32, 4, 2, 40, 16, 2, 24};
/// Products of as many rows as some of the threads but not all would once have taken; ragged segments.
constexpr Size medium{400, 128, 4, 4, 200, 64, 2, 96};

/// What a step leaves behind, byte for byte.
using Bytes = std::vector<std::byte>;

void append(Bytes& bytes, const Tensor& tensor) { bytes.insert(bytes.end(), tensor.raw().begin(), tensor.raw().end()); }
void append(Bytes& bytes, double value) {
  const auto* const first = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof(value));
}

using Case = std::tuple<MemoryUpdate, Schedule, DataType>;

class ThreadCounts : public ::testing::TestWithParam<Case> {
 protected:
  Bytes step_with(const Size& size, int threads) {
    const auto [update, schedule, type] = GetParam();
    const ThreadCount scope(threads);
    MemoryPool pool;
    RunConfig config;
    config.model.vocab_size = size.vocabulary;
    config.model.hidden_size = size.hidden;
    config.model.num_layers = 1;
    config.model.num_heads = size.heads;
    config.model.num_kv_heads = size.kv_heads;
    config.model.ffn_size = size.ffn;
    config.model.segment_length = size.segment;
    config.model.attention.memory_update = update;
    config.model.initializer_range = 0.2;
    config.model = config.model.resolved();
    config.train.batch_size = size.lanes;
    config.train.sequence_length = size.tokens;
    config.train.carry_memory = true;
    config.optimizer.kind = update == MemoryUpdate::delta ? OptimizerKind::adafactor : OptimizerKind::adamw;
    config.optimizer.warmup_steps = 0;
    LanguageModel model(pool, config.model, type);
    model.initialize(3);
    TrainingStep step({.config = config,
                       .lanes = plan_lanes(config.train, 1),
                       .plan = {schedule, schedule == Schedule::parallel ? Recompute::cheap : Recompute::segment, 0},
                       .model = model,
                       .state_pool = pool,
                       .step_pool = pool,
                       .communicator = *communicator_,
                       .sequence_ranks = nullptr,
                       .observer = observer_});
    StepState state = step.empty_state();
    const TokenBatch batch = testing::random_batch(size.lanes, size.tokens, size.vocabulary, {size.segment + 5});
    const StepResult result = step.step(batch, state);
    step.wait();
    Bytes bytes;
    append(bytes, result.loss);
    append(bytes, result.gradient_norm);
    for (const SequenceState& memory : state.memories) {
      memory.for_each([&](const std::string&, const Tensor& tensor) { append(bytes, tensor); });
    }
    for (const Parameter& parameter : model.parameters()) append(bytes, parameter.master);
    step.optimizer().visit_state(
        [&](const std::string&, const Tensor& moment, const Optimizer::StatePlace&) { append(bytes, moment); });
    return bytes;
  }

 private:
  Silent observer_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_P(ThreadCounts, LeaveTheSameBits) {
  for (const Size& size : {tiny, medium}) {
    const Bytes expected = step_with(size, 1);
    for (const int threads : {2, 3, 5, 8, 64}) {
      EXPECT_EQ(step_with(size, threads) == expected, true) << threads << " threads, hidden size " << size.hidden;
    }
  }
}

std::string name(const ::testing::TestParamInfo<Case>& info) {
  const auto [update, schedule, type] = info.param;
  return std::string(update == MemoryUpdate::delta ? "Delta" : "Linear") +
         (schedule == Schedule::parallel ? "Parallel" : "Sequential") +
         (type == DataType::bfloat16 ? "Bfloat16" : "Float32");
}

INSTANTIATE_TEST_SUITE_P(Steps, ThreadCounts,
                         ::testing::Combine(::testing::Values(MemoryUpdate::linear, MemoryUpdate::delta),
                                            ::testing::Values(Schedule::parallel, Schedule::sequential),
                                            ::testing::Values(DataType::float32, DataType::bfloat16)),
                         name);

}  // namespace
}  // namespace palimpsest
