#include "launch/benchmark/training_steps.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/elapsed.h"
#include "core/random.h"
#include "optim/gradient_norm.h"
#include "optim/learning_rate.h"

namespace palimpsest {

using Clock = std::chrono::steady_clock;

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
    : setting_(setting),
      communicator_(communicator),
      sequence_ranks_(sequence_ranks),
      counting_(communicator),
      shares_(share_parameters(setting.config.optimizer, setting.model.parameters(), communicator)),
      optimizer_(make_optimizer(setting.config.optimizer, setting.model.parameters(), setting.state_pool, shares_)),
      reducer_(setting.model.parameters(), counting_, setting.step_pool, reduction_options(setting.config.train),
               shares_),
      update_(*optimizer_, setting.model.parameters(), counting_),
      batch_(synthetic_batch(setting.lanes.per_micro_batch, setting.config.train.sequence_length,
                             setting.config.model.vocab_size)) {}

void TrainingSteps::accumulate_gradients(OperatorProfile* profile) {
  const TrainConfig& train = setting_.config.train;
  const double scale = 1.0 / static_cast<double>(train.batch_size * train.sequence_length);
  for (std::int64_t lane = 0; lane < setting_.lanes.per_rank; lane += batch_.lanes) {
    MemoryState memory = setting_.model.empty_memory(setting_.step_pool, batch_.lanes);
    PassOptions options{.schedule = setting_.plan.schedule,
                        .recompute = setting_.plan.recompute,
                        .loss_scale = scale,
                        .profile = profile,
                        .sequence_ranks = sequence_ranks_,
                        .overlap_memory = train.overlap_memory};
    if (lane == 0) options.events.needed = [&](std::size_t begin, std::size_t end) { update_.wait_for(begin, end); };
    if (train.overlap_gradients && lane + batch_.lanes == setting_.lanes.per_rank) {
      options.events.gradients_final = [&](std::size_t begin, std::size_t end) { reducer_.begin(begin, end); };
    }
    setting_.model.accumulate_gradients(setting_.step_pool, batch_, memory, options);
  }
}

void TrainingSteps::step(BenchmarkResult* result, std::int64_t steps) {
  counting_.reset();
  setting_.model.parameters().clear_gradients();
  accumulate_gradients(result ? &result->operators : nullptr);
  // Apart from each other: waiting for ranks that compute longer, and for what still travels once none does.
  const auto waiting = Clock::now();
  communicator_.barrier();
  const auto communicating = Clock::now();
  GradientNorm norm(setting_.model.parameters(), counting_);
  reducer_.finish([&](std::size_t index) { norm.add(index); });
  const double total = norm.total();
  const auto updating = Clock::now();
  const LearningRates rates = learning_rate_at(setting_.config.optimizer, done_++, 1'000'000);
  update_.update(rates, clip_factor(total, setting_.config.optimizer.clip_norm));
  if (!setting_.config.train.overlap_gradients) update_.wait_for_all();
  if (!result) return;
  const auto share = 1.0 / static_cast<double>(steps);
  result->optimizer_seconds += seconds_since(updating) * share;
  result->communication_seconds += std::chrono::duration<double>(updating - communicating).count() * share;
  result->waiting_seconds += std::chrono::duration<double>(communicating - waiting).count() * share;
  result->exposed_seconds += counting_.counts().seconds_waited() * share;
  result->bytes_sent_per_step = counting_.counts().bytes();
  result->communication_calls_per_step = counting_.counts().calls();
}

double TrainingSteps::communication_alone() {
  if (communicator_.size() == 1) return 0;
  update_.wait_for_all();
  double fastest = 0;
  for (int i = 0; i < 3; ++i) {
    communicator_.barrier();
    const auto start = Clock::now();
    reducer_.finish();
    std::vector<Transfer> transfers;
    for (std::size_t index = 0; index < setting_.model.parameters().size(); ++index) {
      Tensor& master = setting_.model.parameters().all()[index].master;
      if (shares_.cut(index)) transfers.push_back(communicator_.begin_all_gather_shares(master.values<float>()));
    }
    for (Transfer& transfer : transfers) transfer.wait();
    const double seconds = seconds_since(start);
    fastest = i == 0 ? seconds : std::min(fastest, seconds);
  }
  return fastest;
}

}  // namespace palimpsest
