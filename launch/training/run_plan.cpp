#include "launch/training/run_plan.h"

#include <algorithm>
#include <span>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "core/matmul.h"
#include "core/sequence_share.h"
#include "launch/ranks/sequence_groups.h"
#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

std::vector<std::int64_t> divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t i = 1; i <= number; ++i) {
    if (number % i == 0) found.push_back(i);
  }
  return found;
}

std::vector<std::int64_t> multiplied(std::vector<std::int64_t> numbers, std::int64_t factor) {
  for (std::int64_t& number : numbers) number *= factor;
  return numbers;
}

}  // namespace

LanePlan plan_lanes(const TrainConfig& config, int ranks) {
  const std::int64_t together = config.sequence_ranks;
  check_sequence_ranks("train.sequence_ranks", together, ranks);
  const std::int64_t groups = ranks / together;
  if (config.batch_size % groups != 0) {
    throw ConfigError(
        fmt::format("train.batch_size {} cannot be shared by {} ranks{}: use a multiple of {}, or one of "
                    "{} ranks",
                    config.batch_size, ranks, together > 1 ? fmt::format(" in groups of {}", together) : "", groups,
                    fmt::join(multiplied(divisors(config.batch_size), together), ", ")));
  }
  const std::int64_t per_rank = config.batch_size / groups;
  if (config.micro_batch_size == 0) return {per_rank, per_rank};
  if (per_rank % config.micro_batch_size != 0) {
    throw ConfigError(
        fmt::format("train.micro_batch_size {} does not divide the {} lanes of a {} (train.batch_size "
                    "{} over {} {}s): use one of {}, or 0 for all of them",
                    config.micro_batch_size, per_rank, together > 1 ? "group" : "rank", config.batch_size, groups,
                    together > 1 ? "group" : "rank", fmt::join(divisors(per_rank), ", ")));
  }
  return {per_rank, config.micro_batch_size};
}

std::vector<int> possible_ranks(const TrainConfig& config) {
  std::vector<int> possible;
  for (const std::int64_t groups : divisors(config.batch_size)) {
    const bool whole_micro_batches =
        config.micro_batch_size == 0 || config.batch_size / groups % config.micro_batch_size == 0;
    if (whole_micro_batches) possible.push_back(static_cast<int>(groups * config.sequence_ranks));
  }
  return possible;
}

std::int64_t last_step(const TrainConfig& config, std::int64_t stop_after) {
  return stop_after > 0 ? std::min(stop_after, config.steps) : config.steps;
}

nlohmann::ordered_json describe_plan(const TrainConfig& config, std::int64_t last_step) {
  return {{"run_directory", config.run_directory},
          {"last_step", last_step},
          {"batch_size", config.batch_size},
          {"ranks", possible_ranks(config)},
          {"time_limit", config.time_limit}};
}

RunConfig resolve(RunConfig config, const TokenSource& source, int ranks) {
  if (config.model.vocab_size == 0) config.model.vocab_size = source.vocab_size();
  if (config.model.vocab_size < source.vocab_size()) {
    throw ConfigError(fmt::format("model.vocab_size is {}, but the tokenizer of {} has {} tokens (0 takes that number)",
                                  config.model.vocab_size, source.name(), source.vocab_size()));
  }
  config.model = config.model.resolved();
  plan_lanes(config.train, ranks);
  return config;
}

SourceShape plan_source(const RunConfig& config) {
  return {config.train.seed, config.train.batch_size, config.train.sequence_length, config.model.segment_length,
          config.train.interleave};
}

LaneRun plan_lane_run(const TrainConfig& config, int rank, int ranks) {
  const std::int64_t lanes = plan_lanes(config, ranks).per_rank;
  return {group_of(rank, config.sequence_ranks) * lanes, lanes};
}

DataType compute_type(Precision precision, Communicator& communicator) {
  if (precision != Precision::bfloat16) return DataType::float32;
  std::int64_t ranks_without = has_native_bfloat16() ? 0 : 1;
  communicator.all_reduce_sum(std::span(&ranks_without, 1));
  return ranks_without == 0 ? DataType::bfloat16 : DataType::float32;
}

std::string precision_warning(Precision precision, DataType type) {
  if (precision != Precision::bfloat16 || type == DataType::bfloat16) return {};
  return "a machine of this run has no fast or no correct bfloat16 products: computing in float32";
}

ParameterShares share_parameters(const OptimizerConfig& config, const ParameterList& parameters,
                                 const Communicator& communicator) {
  if (!config.sharded) return {};
  return {parameters, communicator.rank(), communicator.size()};
}

ReductionOptions reduction_options(const TrainConfig& config) {
  return {static_cast<std::int64_t>(config.gradient_bucket * 1024 * 1024), config.gradient_wire};
}

std::int64_t pass_budget(const RunConfig& config, DataType type, std::int64_t ranks_on_host, const Kept& kept) {
  constexpr double gibibyte = 1024.0 * 1024.0 * 1024.0;
  const double host = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const double budget = config.train.memory_budget > 0 ? config.train.memory_budget * gibibyte
                                                       : 0.8 * host / static_cast<double>(ranks_on_host);
  // Master and the working copy of bfloat16; of what is trained gradient and two moments, too, and the initial value
  // that it is pulled toward.
  const std::int64_t per_parameter = 4 + (type == DataType::bfloat16 ? 2 : 0);
  const std::int64_t per_trained = config.optimizer.decay_toward_initial > 0 ? 16 : 12;
  const std::int64_t parameters = config.model.parameters() + (kept.teacher ? kept.teacher->parameters() : 0);
  return static_cast<std::int64_t>(budget -
                                   static_cast<double>(per_parameter * parameters + per_trained * kept.trained));
}

PassPlan plan_passes(const RunConfig& config, DataType type, int ranks, std::int64_t ranks_on_host, const Kept& kept) {
  const TrainConfig& train = config.train;
  require_carriable(config.model.attention.kind, train.carry_memory);
  require_shareable(config.model.attention.kind, train.sequence_ranks);
  const auto together = static_cast<int>(train.sequence_ranks);
  const std::int64_t lanes = plan_lanes(train, ranks).per_micro_batch;
  // What the teacher says of a micro batch lasts as long as the pass.
  const std::int64_t lesson = kept.teacher ? lesson_bytes(*kept.teacher, lanes, train.sequence_length, type) : 0;
  // Memories of other micro batches, and of places that are not this step's turn.
  const std::int64_t resting =
      train.carry_memory ? state_bytes(config.model, train.interleave * plan_lanes(train, ranks).per_rank - lanes, type)
                         : 0;
  PassPlan plan =
      plan_pass(config.model, lanes, longest_share(train.sequence_length, config.model.segment_length, together), type,
                together > 1 ? Schedule::parallel : train.schedule, train.recompute,
                pass_budget(config, type, ranks_on_host, kept) - lesson - resting);
  plan.bytes += lesson + resting;
  if (kept.teacher) {
    plan.bytes = std::max(plan.bytes, teacher_bytes(*kept.teacher, lanes, train.sequence_length, type) + resting);
  }
  return plan;
}

}  // namespace palimpsest
