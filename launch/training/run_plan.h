// What follows from a configuration, the data and the number of ranks before anything is computed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "configs/run_config.h"
#include "data/stream/token_source.h"
#include "layers/pass_plan.h"
#include "optim/gradient_reducer.h"

namespace palimpsest {

/// How the lanes of the global batch are shared: first over ranks, or groups of train.sequence_ranks ranks with
/// the same lanes, then over micro batches.
struct LanePlan {
  std::int64_t per_rank = 0;
  std::int64_t per_micro_batch = 0;
};

/// Throws ConfigError, naming the values that would do, when the ranks do not make up groups or the lanes cannot be
/// shared evenly.
LanePlan plan_lanes(const TrainConfig& config, int ranks);

/// The numbers of ranks that can share the lanes, ascending.
std::vector<int> possible_ranks(const TrainConfig& config);

/// The step to end with, given the one to stop after (0: none).
std::int64_t last_step(const TrainConfig& config, std::int64_t stop_after);

/// What a launcher has to know of a run: "run_directory", "last_step" (after which it ends with a checkpoint),
/// "batch_size", the possible numbers of "ranks" and the "time_limit" in seconds (0: none).
nlohmann::ordered_json describe_plan(const TrainConfig& config, std::int64_t last_step);

/// The configuration with everything derived filled in. Throws ConfigError when the model has fewer
/// tokens than the data's tokenizer, is impossible otherwise, or the lanes cannot be shared.
RunConfig resolve(RunConfig config, const TokenSource& source, int ranks);

/// The batches that a run asks of its data.
SourceShape plan_source(const RunConfig& config);

/// The lanes that one rank reads.
LaneRun plan_lane_run(const TrainConfig& config, int rank, int ranks);

/// What the model computes in on every rank: float32 where one of them has no fast and correct bfloat16 products.
/// Collective.
DataType compute_type(Precision precision, Communicator& communicator);
/// What to tell the user where that is not what `precision` asks for; else empty.
std::string precision_warning(Precision precision, DataType type);

/// Which elements of the parameters this rank updates: all, unless optimizer.sharded.
ParameterShares share_parameters(const OptimizerConfig& config, const ParameterList& parameters,
                                 const Communicator& communicator);

/// How gradients travel.
ReductionOptions reduction_options(const TrainConfig& config);

/// What a rank keeps beside the model's parameters.
struct Kept {
  std::int64_t trained = 0;              // elements of parameters that have a gradient and an optimiser's state
  const ModelConfig* teacher = nullptr;  // of the model that a run learns from, resolved; null: none
};

/// Bytes that a rank may use beside all that: train.memory_budget, or the rank's share of four fifths of its host's
/// memory, without it. Negative when it alone is more.
std::int64_t pass_budget(const RunConfig& resolved, DataType type, std::int64_t ranks_on_host, const Kept& kept);

/// Schedule and recomputation of a rank's micro batches, the automatic ones chosen by train.memory_budget, and their
/// bytes: with a teacher the most of its pass, and of the model's with what the teacher has said.
PassPlan plan_passes(const RunConfig& resolved, DataType type, int ranks, std::int64_t ranks_on_host, const Kept& kept);

}  // namespace palimpsest
