#include "launch/training/training_step.h"

#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>

#include "core/random.h"
#include "core/sequence_layout.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/training/not_finite.h"
#include "launch/training/trained_parameters.h"
#include "layers/training_pass.h"
#include "optim/gradient_norm.h"
#include "optim/learning_rate.h"

namespace palimpsest {

namespace {

AnswerCounts sum_over_ranks(const AnswerCounts& answers, Communicator& communicator) {
  std::array<std::int64_t, 2> counts = {answers.right, answers.all};
  communicator.all_reduce_sum(counts);
  return {counts[0], counts[1]};
}

void sum_over_ranks(std::vector<SourceTotals>& sources, Communicator& communicator) {
  std::vector<double> sums;
  std::vector<std::int64_t> counts;
  for (const SourceTotals& source : sources) {
    sums.insert(sums.end(), {source.loss, source.weight});
    counts.insert(counts.end(), {source.answers.right, source.answers.all});
  }
  communicator.all_reduce_sum(std::span(sums));
  communicator.all_reduce_sum(std::span(counts));
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sources[i] = {sums[2 * i], sums[2 * i + 1], {counts[2 * i], counts[2 * i + 1]}};
  }
}

void sum_over_ranks(ContrastTotals& contrast, Communicator& communicator) {
  std::array<double, 2> sums = {contrast.loss, contrast.tokens};
  communicator.all_reduce_sum(std::span<double>(sums));
  contrast = {sums[0], sums[1], sum_over_ranks(contrast.found, communicator)};
}

/// With what is not to be trained frozen, before anybody makes room for its gradients.
ParameterList& trained_parameters(const TrainingStep::Setting& setting) {
  ParameterList& parameters = setting.model.parameters();
  choose_trained(setting.config.train.trainable, parameters);
  require_trained(setting.config.optimizer.learning_rate_multipliers, parameters);
  return parameters;
}

}  // namespace

TrainingStep::TrainingStep(const Setting& setting)
    : setting_(setting),
      shares_(share_parameters(setting.config.optimizer, trained_parameters(setting), setting.communicator)),
      optimizer_(make_optimizer(setting.config.optimizer, setting.model.parameters(), setting.state_pool, shares_)),
      reducer_(setting.model.parameters(), setting.communicator, setting.step_pool,
               reduction_options(setting.config.train), shares_),
      update_(*optimizer_, setting.model.parameters(), setting.communicator),
      spikes_(setting.config.loss_spike) {}

StepState TrainingStep::empty_state() const {
  StepState state;
  const TrainConfig& train = setting_.config.train;
  state.first_lane = group_of(setting_.communicator.rank(), train.sequence_ranks) * setting_.lanes.per_rank;
  for (std::int64_t i = 0; train.carry_memory && i < train.interleave * micro_batches(); ++i) {
    state.memories.push_back(setting_.model.empty_state(setting_.step_pool, setting_.lanes.per_micro_batch));
  }
  return state;
}

std::span<SequenceState> TrainingStep::memories_of_step(StepState& state) const {
  if (state.memories.empty()) return {};
  const auto count = static_cast<std::size_t>(micro_batches());
  const auto turn = static_cast<std::size_t>(state.progress.step % setting_.config.train.interleave);
  return std::span(state.memories).subspan(turn * count, count);
}

void TrainingStep::empty_some(std::span<SequenceState> memories, const StepState& state) const {
  const TrainConfig& train = setting_.config.train;
  if (train.fresh_memory == 0) return;
  auto lane = static_cast<std::uint32_t>(state.first_lane);
  for (SequenceState& memory : memories) {
    for (std::int64_t& document : memory.documents) {
      const Random random(train.seed, RandomPurpose::carried_memory, static_cast<std::uint64_t>(state.progress.step),
                          lane++);
      if (random.uniform(0) < train.fresh_memory) document = no_document;
    }
  }
}

StepResult TrainingStep::step(const TokenBatch& batch, StepState& state) {
  const RunConfig& config = setting_.config;
  LanguageModel& model = setting_.model;
  Communicator& communicator = setting_.communicator;
  StepObserver& observer = setting_.observer;
  StepResult result;
  observer.enter(Phase::communication);
  result.tokens = total_weight(batch);

  model.parameters().clear_gradients();
  const std::span<SequenceState> memories = memories_of_step(state);
  empty_some(memories, state);
  // For explanations; they share their tensors.
  const std::vector<SequenceState> memories_before(memories.begin(), memories.end());
  result.sources.resize(setting_.sources);
  result.loss = accumulate_gradients(batch, result.tokens > 0 ? 1.0 / result.tokens : 0.0, memories, result);
  observer.enter(Phase::communication);
  if (result.has_targets()) {
    GradientNorm gradient_norm(model.parameters(), communicator);
    reducer_.finish([&](std::size_t index) { gradient_norm.add(index); });
    result.gradient_norm = gradient_norm.total();
  }
  const bool own_loss_finite = std::isfinite(result.loss + result.divergence.value_or(0));
  communicator.all_reduce_sum(std::span(&result.loss, 1));
  if (result.divergence) communicator.all_reduce_sum(std::span(&*result.divergence, 1));
  if (result.tokens > 0) {
    result.loss /= result.tokens;
    if (result.divergence) *result.divergence /= result.tokens;
  }
  if (setting_.sources > 0) sum_over_ranks(result.sources, communicator);
  if (result.contrast) sum_over_ranks(*result.contrast, communicator);
  if (!batch.answers.empty()) result.answers = sum_over_ranks(result.answers, communicator);

  const bool finite = std::isfinite(result.loss + result.divergence.value_or(0)) && std::isfinite(result.gradient_norm);
  const StopReason own_reason = observer.stop_reason();
  std::array<std::int64_t, 3> agreement = {!finite, own_reason.signal, own_reason.out_of_time};
  communicator.all_reduce_max(agreement);
  result.stop = {static_cast<int>(agreement[1]), agreement[2] != 0};

  observer.enter(Phase::optimizer);
  result.rates = learning_rate_at(config.optimizer, state.progress.step, config.train.steps);
  std::optional<LossSpike> spike;
  if (result.has_targets()) spike = spikes_.look(result.loss);  // the loss of all ranks, so they judge alike
  if (spike) result.warning = spike->describe();
  if (agreement[0] != 0) {
    result.skipped = true;
    result.warning =
        explain_not_finite(model.parameters(), memories_before, state.first_lane, own_loss_finite, communicator);
    for (SequenceState& memory : memories) memory = model.empty_state(setting_.step_pool, memory.lanes());
  } else if (spike && config.loss_spike.policy == LossSpikePolicy::skip) {
    result.skipped = true;
  } else if (result.has_targets()) {
    update_.update(result.rates, clip_factor(result.gradient_norm, config.optimizer.clip_norm));
    if (!config.train.overlap_gradients) update_.wait_for_all();
  }
  Progress& progress = state.progress;
  ++progress.step;
  if (std::isfinite(result.tokens)) progress.tokens += std::llround(result.tokens);  // weights may come from outside
  progress.skipped_steps += result.skipped;
  progress.consecutive_skips = result.skipped ? progress.consecutive_skips + 1 : 0;
  return result;
}

double TrainingStep::total_weight(const TokenBatch& batch) const {
  const bool leads = setting_.sequence_ranks == nullptr || setting_.sequence_ranks->is_root();  // its lanes count once
  double weight = leads ? std::accumulate(batch.loss_weights.begin(), batch.loss_weights.end(), 0.0) : 0.0;
  setting_.communicator.all_reduce_sum(std::span(&weight, 1));
  return weight;
}

double TrainingStep::accumulate_gradients(const TokenBatch& batch, double loss_scale, std::span<SequenceState> memories,
                                          StepResult& result) {
  const TrainConfig& train = setting_.config.train;
  const std::int64_t count = micro_batches(), lanes = setting_.lanes.per_micro_batch;
  double loss = 0;
  DistillationTotals distilled;
  const QueryContrast& contrast = setting_.config.data.queries.contrast;
  ContrastTotals contrasted;
  const LanguageModel* teacher = setting_.teacher;
  for (std::int64_t i = 0; i < count; ++i) {
    setting_.observer.enter(Phase::forward);
    PassOptions options{.schedule = setting_.plan.schedule,
                        .recompute = setting_.plan.recompute,
                        .loss_scale = loss_scale,
                        .profile = setting_.observer.profile(),
                        .answers = &result.answers,
                        .sources = setting_.sources > 0 ? &result.sources : nullptr,
                        .distillation = {teacher, setting_.config.distillation.share, &distilled},
                        .contrast = {contrast.weight, contrast.temperature, &contrasted},
                        .sequence_ranks = setting_.sequence_ranks,
                        .overlap_memory = train.overlap_memory};
    // What the last update has left under way is there once the first micro batch has used it.
    if (i == 0) options.events.needed = [this](std::size_t begin, std::size_t end) { update_.wait_for(begin, end); };
    // Gradients are final in the last micro batch only: there they leave while backward goes on.
    if (train.overlap_gradients && result.has_targets() && i + 1 == count) {
      options.events.gradients_final = [this](std::size_t begin, std::size_t end) { reducer_.begin(begin, end); };
    }
    const TokenBatch part = lanes_of(batch, i * lanes, (i + 1) * lanes);
    SequenceState empty;
    if (!train.carry_memory) empty = setting_.model.empty_state(setting_.step_pool, lanes);
    SequenceState& memory = train.carry_memory ? memories[static_cast<std::size_t>(i)] : empty;
    loss += palimpsest::accumulate_gradients(setting_.model, setting_.step_pool, part, memory, options);
  }
  if (!batch.queries.empty()) result.contrast = contrasted;
  if (teacher == nullptr) return loss;
  result.divergence = distilled.divergence;
  return distilled.loss;
}

void TrainingStep::communicate() {
  wait();
  reducer_.finish();
  std::vector<Transfer> transfers;
  for (std::size_t index = 0; index < setting_.model.parameters().size(); ++index) {
    Tensor& master = setting_.model.parameters().all()[index].master;
    if (shares_.cut(index)) transfers.push_back(setting_.communicator.begin_all_gather_shares(master.values<float>()));
  }
  for (Transfer& transfer : transfers) transfer.wait();
}

}  // namespace palimpsest
