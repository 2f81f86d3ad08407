#include "configs/run_config.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"
#include "data/text/json_records.h"
#include "layers/contrast.h"

namespace palimpsest {

namespace {

/// What ranks that share sequences need.
void validate_sequence_ranks(const TrainConfig& train, std::int64_t segment_length) {
  const std::int64_t ranks = train.sequence_ranks;
  const std::int64_t segments = (train.sequence_length + segment_length - 1) / segment_length;
  if (ranks > segments) {
    throw ConfigError(
        fmt::format("train.sequence_ranks {} is more than the {} segments of a sequence (train.sequence_length {}, "
                    "model.segment_length {}): use at most {}, or sequences of more than {} tokens",
                    ranks, segments, train.sequence_length, segment_length, segments, (ranks - 1) * segment_length));
  }
  if (train.schedule == Schedule::sequential) {
    throw ConfigError(
        fmt::format("train.sequence_ranks {} needs train.schedule parallel or automatic, found sequential: one rank "
                    "would wait for the segments of the others",
                    ranks));
  }
  if (train.recompute == Recompute::segment) {
    throw ConfigError(fmt::format(
        "train.sequence_ranks {} needs train.recompute automatic, none, cheap or block, found segment", ranks));
  }
}

/// As names in logs, metrics and file names are.
void require_plain(std::string_view name, const std::string& key) {
  const bool plain = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain) {
    throw ConfigError(fmt::format("{} is \"{}\", expected letters, digits, -, _ and .", key, printable(name)));
  }
}

/// The name by which logs and metrics know the validation split.
constexpr std::string_view validation_name = "validation";

void validate_evaluation(const RunConfig& config) {
  const std::vector<EvaluationSet>& sets = config.evaluation.sets;
  if (config.evaluation.every > 0 && config.data.validation.empty() && sets.empty()) {
    throw ConfigError(fmt::format("evaluation.every is {} but data.validation names no token file, nor evaluation.sets",
                                  config.evaluation.every));
  }
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const std::string& name = sets[i].name;
    require_plain(name, fmt::format("evaluation.sets[{}].name", i));
    const auto same = std::ranges::find(sets, name, &EvaluationSet::name);
    if (name == validation_name || same != sets.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw ConfigError(fmt::format("evaluation.sets[{}].name is \"{}\", which {} is called already", i, name,
                                    name == validation_name ? "data.validation" : "an earlier set"));
    }
    if (sets[i].file.empty()) throw ConfigError(fmt::format("evaluation.sets[{}].file is empty", i));
  }
  const SummaryEvaluationConfig& summaries = config.evaluation.summaries;
  if (summaries.pairs.empty() && summaries.every > 0) {
    throw ConfigError(
        fmt::format("evaluation.summaries.every is {} but evaluation.summaries.pairs names no file", summaries.every));
  }
  try {
    parse_pair_template(unescaped(summaries.pair_template));
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("evaluation.summaries.template: {}", error.what()));
  }
}

}  // namespace

void validate(const RunConfig& config) {
  ModelConfig model = config.model;
  model.vocab_size = std::max<std::int64_t>(model.vocab_size, 1);  // 0 is filled in from the tokenizer
  static_cast<void>(model.resolved());

  const TrainConfig& train = config.train;
  if (train.micro_batch_size > 0 && train.batch_size % train.micro_batch_size != 0) {
    throw ConfigError(fmt::format("train.batch_size {} is not a multiple of train.micro_batch_size {}",
                                  train.batch_size, train.micro_batch_size));
  }
  if (train.schedule == Schedule::parallel && train.recompute == Recompute::segment) {
    throw ConfigError("train.recompute segment needs train.schedule sequential or automatic, found parallel");
  }
  if (train.sequence_ranks > 1) validate_sequence_ranks(train, model.segment_length);
  if (config.optimizer.sharded && config.optimizer.kind != OptimizerKind::adamw) {
    throw ConfigError("optimizer.sharded true needs optimizer.kind adamw, found adafactor");
  }
  if (config.optimizer.decay_toward_initial > 0 && train.initial_weights.empty()) {
    throw ConfigError(fmt::format("optimizer.decay_toward_initial {} needs train.initial_weights, which is empty",
                                  config.optimizer.decay_toward_initial));
  }
  const DistillationConfig& distillation = config.distillation;
  if (distillation.teaches() && distillation.teacher.empty() && train.initial_weights.empty()) {
    throw ConfigError(
        fmt::format("distillation.share {} needs distillation.teacher or train.initial_weights, which are empty",
                    distillation.share));
  }
  if (distillation.teaches() && train.sequence_ranks > 1) {
    throw ConfigError(fmt::format("distillation.share {} needs train.sequence_ranks 1, found {}", distillation.share,
                                  train.sequence_ranks));
  }
  if (distillation.teaches() && distillation.window > 0 && distillation.attention != AttentionKind::local) {
    throw ConfigError(
        fmt::format("distillation.window {} needs distillation.attention local, found full", distillation.window));
  }
  if (config.data.kind == DataKind::queries && config.data.queries.contrast.weight > 0) {
    require_contrast(model.attention);
    if (train.sequence_ranks > 1 || distillation.teaches()) {
      throw ConfigError(
          fmt::format("data.contrast {} needs train.sequence_ranks 1 and distillation.share 0, found {} and {}",
                      config.data.queries.contrast.weight, train.sequence_ranks, distillation.share));
    }
  }
  if (train.run_directory.empty()) throw ConfigError("train.run_directory is empty: checkpoints need a place");
  if (config.data.segments_before_targets > 0 && !train.carry_memory) {
    throw ConfigError(fmt::format("data.segments_before_targets {} needs train.carry_memory true, found false",
                                  config.data.segments_before_targets));
  }
  if (train.interleave > 1) {
    const DataConfig& data = config.data;
    const std::string found = data.kind != DataKind::text ? "another data.kind"
                              : !data.mixture.empty()     ? "a list of sources"
                              : data.segments_before_targets > 0
                                  ? fmt::format("data.segments_before_targets {}", data.segments_before_targets)
                                  : "";
    if (!found.empty()) {
      throw ConfigError(
          fmt::format("train.interleave {} needs one token file in data.train, and "
                      "data.segments_before_targets 0, found {}",
                      train.interleave, found));
    }
  }
  if (train.fresh_memory > 0 && (!train.carry_memory || config.data.segments_before_targets > 0)) {
    throw ConfigError(fmt::format(
        "train.fresh_memory {} needs train.carry_memory true and data.segments_before_targets 0, found {} and {}",
        train.fresh_memory, train.carry_memory, config.data.segments_before_targets));
  }
  for (std::size_t i = 0; i < config.data.mixture.size(); ++i) {
    const std::string& name = config.data.mixture[i].name;
    if (!name.empty()) require_plain(name, fmt::format("data.train[{}].name", i));
  }
  validate_evaluation(config);
}

}  // namespace palimpsest
