#include "launch/benchmark/training_steps.h"

#include <algorithm>

#include "core/elapsed.h"
#include "core/random.h"

namespace palimpsest {

TokenBatch synthetic_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t vocabulary) {
  TokenBatch batch;
  batch.lanes = lanes;
  batch.tokens = tokens;
  const Random random(1, RandomPurpose::data);
  const auto count = static_cast<std::size_t>(lanes * tokens);
  batch.inputs.reserve(count);
  batch.targets.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    batch.inputs.push_back(static_cast<std::int32_t>(random.below(2 * i, static_cast<std::uint64_t>(vocabulary))));
    batch.targets.push_back(static_cast<std::int32_t>(random.below(2 * i + 1, static_cast<std::uint64_t>(vocabulary))));
  }
  batch.documents.assign(count, 0);
  batch.loss_weights.assign(count, 1.0f);
  return batch;
}

TrainingSteps::TrainingSteps(const Setting& setting, Communicator& communicator, Communicator* sequence_ranks)
    : communicator_(communicator),
      step_({.config = setting.config,
             .lanes = setting.lanes,
             .plan = setting.plan,
             .model = setting.model,
             .state_pool = setting.state_pool,
             .step_pool = setting.step_pool,
             .communicator = communicator,
             .sequence_ranks = sequence_ranks,
             .observer = *this}),
      state_(step_.empty_state()),
      batch_(synthetic_batch(setting.lanes.per_rank, setting.config.train.sequence_length,
                             setting.config.model.vocab_size)) {}

void TrainingSteps::enter(Phase phase) {
  if (phase == Phase::forward) computed_ = true;
  if (phase == Phase::communication && computed_) {
    // Apart from each other: waiting for ranks that compute longer, and for what still travels once none does.
    waiting_ = Clock::now();
    counted_.reset();
    communicator_.barrier();
    counted_.emplace(communicator_, counter_);
    communicating_ = Clock::now();
  }
  if (phase == Phase::optimizer) updating_ = Clock::now();
}

void TrainingSteps::step(BenchmarkResult* result, std::int64_t steps) {
  counter_.reset();
  computed_ = false;
  profile_ = result ? &result->operators : nullptr;
  counted_.emplace(communicator_, counter_);
  step_.step(batch_, state_);
  counted_.reset();
  if (!result) return;
  const auto share = 1.0 / static_cast<double>(steps);
  result->optimizer_seconds += seconds_since(updating_) * share;
  result->communication_seconds += std::chrono::duration<double>(updating_ - communicating_).count() * share;
  result->waiting_seconds += std::chrono::duration<double>(communicating_ - waiting_).count() * share;
  result->exposed_seconds += counter_.counts().seconds_waited() * share;
  result->bytes_sent_per_step = counter_.counts().bytes();
  result->communication_calls_per_step = counter_.counts().calls();
}

double TrainingSteps::communication_alone() {
  if (communicator_.size() == 1) return 0;
  step_.wait();
  double fastest = 0;
  for (int i = 0; i < 3; ++i) {
    communicator_.barrier();
    const auto start = Clock::now();
    step_.communicate();
    const double seconds = seconds_since(start);
    fastest = i == 0 ? seconds : std::min(fastest, seconds);
  }
  return fastest;
}

}  // namespace palimpsest
