#include "launch/library/model_training.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/training/run_plan.h"
#include "launch/training/trained_parameters.h"

namespace palimpsest {

namespace {

/// With the model's own shape, for one process.
RunConfig configure(RunConfig config, const Model& model) {
  config.model = model.language_model().config();
  if (config.distillation.teaches()) throw ConfigError("distillation.share: only a whole run has a teacher");
  if (config.train.interleave > 1) throw ConfigError("train.interleave: only a whole run reads places in turn");
  validate(config);
  plan_lanes(config.train, 1);
  return config;
}

}  // namespace

TokenBatch make_batch(std::span<const std::vector<std::int32_t>> sequences, std::int64_t document) {
  std::size_t longest = 0;
  for (const std::vector<std::int32_t>& sequence : sequences) {
    if (sequence.size() < 2) {
      throw DataError(fmt::format("a sequence of {} tokens: expected two at least", sequence.size()));
    }
    longest = std::max(longest, sequence.size() - 1);
  }
  TokenBatch batch;
  batch.lanes = static_cast<std::int64_t>(sequences.size());
  batch.tokens = static_cast<std::int64_t>(longest);
  for (const std::vector<std::int32_t>& sequence : sequences) {
    batch.inputs.insert(batch.inputs.end(), sequence.begin(), sequence.end() - 1);
    batch.targets.insert(batch.targets.end(), sequence.begin() + 1, sequence.end());
    batch.loss_weights.insert(batch.loss_weights.end(), sequence.size() - 1, 1.0f);
    batch.write_weights.resize(batch.inputs.size(), 1.0f);
    const std::size_t end = batch.inputs.size() + longest - (sequence.size() - 1);
    batch.inputs.resize(end, 0);
    batch.targets.resize(end, 0);
    batch.loss_weights.resize(end, 0.0f);
    batch.write_weights.resize(end, 0.0f);
  }
  if (std::ranges::find(batch.write_weights, 0.0f) == batch.write_weights.end()) batch.write_weights.clear();
  batch.documents.assign(batch.inputs.size(), document);
  return batch;
}

ModelTraining::ModelTraining(Model& model, const RunConfig& config)
    : model_(model),
      config_(configure(config, model)),
      step_({.config = config_,
             .lanes = plan_lanes(config_.train, 1),
             .plan =
                 plan_passes(config_, model.language_model().compute_type(), 1, 1,
                             {.trained = choose_trained(config_.train.trainable, model.language_model().parameters())}),
             .model = model.language_model(),
             .state_pool = pool_,
             .step_pool = pool_,
             .communicator = model.communicator(),
             .sequence_ranks = nullptr,
             .observer = observer_}),
      state_(step_.empty_state()) {}

StepResult ModelTraining::step(const TokenBatch& batch) {
  require_sound(batch);
  const Progress before = state_.progress;
  StepResult result = step_.step(batch, state_);
  step_.wait();
  Progress& whole = model_.progress();
  ++whole.step;
  whole.tokens += state_.progress.tokens - before.tokens;
  whole.skipped_steps += result.skipped;
  whole.consecutive_skips = state_.progress.consecutive_skips;
  if (result.skipped && state_.progress.consecutive_skips >= config_.train.max_skipped_steps) {
    throw NumericalError(
        fmt::format("{} steps in a row were skipped (train.max_skipped_steps), the last one because: {}",
                    state_.progress.consecutive_skips, result.warning));
  }
  return result;
}

void ModelTraining::require_sound(const TokenBatch& batch) const {
  const std::int64_t lanes = config_.train.batch_size;
  if (batch.lanes != lanes || batch.tokens < 1) {
    throw ShapeError(
        fmt::format("a batch of {} lanes of {} tokens: expected {} lanes (train.batch_size) of one or more",
                    batch.lanes, batch.tokens, lanes));
  }
  const auto require_size = [&](std::string_view name, std::size_t size, bool may_be_empty) {
    if (static_cast<std::int64_t>(size) == batch.lanes * batch.tokens || (may_be_empty && size == 0)) return;
    throw ShapeError(fmt::format("{} of a batch has {} elements: expected {} lanes of {} tokens", name, size,
                                 batch.lanes, batch.tokens));
  };
  require_size("inputs", batch.inputs.size(), false);
  require_size("targets", batch.targets.size(), false);
  require_size("documents", batch.documents.size(), false);
  require_size("loss_weights", batch.loss_weights.size(), false);
  require_size("write_weights", batch.write_weights.size(), true);
  require_size("answers", batch.answers.size(), true);
  require_size("sources", batch.sources.size(), true);
  const std::int64_t vocabulary = config_.model.vocab_size;
  for (const std::vector<std::int32_t>* tokens : {&batch.inputs, &batch.targets}) {
    const auto found =
        std::ranges::find_if(*tokens, [&](std::int32_t token) { return token < 0 || token >= vocabulary; });
    if (found != tokens->end()) {
      throw DataError(fmt::format("token {} is outside the vocabulary, {} tokens", *found, vocabulary));
    }
  }
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    const auto first = batch.documents.begin() + lane * batch.tokens;
    if (*first >= 0 && std::is_sorted(first, first + batch.tokens)) continue;
    throw DataError(fmt::format("documents of lane {} are negative or decrease", lane));
  }
}

}  // namespace palimpsest
