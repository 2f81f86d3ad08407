// Everything that defines a run. Each component's section is the component's own struct; the sections
// below belong to the trainer. configs/schema.h describes every key once, for the YAML reader and
// writer and for docs/configuration.md.
#pragma once

#include <cstdint>
#include <string>

#include "core/comm/communicator.h"
#include "data/data_config.h"
#include "layers/model_config.h"
#include "layers/pass_options.h"
#include "optim/optimizer_config.h"

namespace palimpsest {

enum class Precision { float32, bfloat16 };

struct TrainConfig {
  std::string run_directory = "runs/default";
  std::uint64_t seed = 1;
  std::int64_t steps = 1000;
  std::int64_t batch_size = 8;          // lanes of the global batch
  std::int64_t micro_batch_size = 0;    // lanes a rank computes at once; 0: all of its lanes
  std::int64_t sequence_length = 4096;  // tokens per lane and step; gradients flow through all of them
  Precision precision = Precision::float32;
  Schedule schedule = Schedule::automatic;
  Recompute recompute = Recompute::automatic;
  std::int64_t sequence_ranks = 1;  // ranks that share each sequence
  double memory_budget = 0;         // GiB a rank may use; 0: its share of four fifths of the host's memory
  bool carry_memory = true;         // the memory goes on, detached, while a document continues
  std::int64_t threads = 0;         // per rank; 0: OMP_NUM_THREADS, else its share of the cores
  bool overlap_gradients = true;    // gradients and shared-out parameters travel behind computation
  double gradient_bucket = 1;       // MiB
  WireType gradient_wire = WireType::float32;
  bool overlap_memory = true;  // states of memory travel behind local attention where ranks share a sequence
  std::int64_t log_every = 10;
  double time_limit = 0;                // seconds after which the run stops with a checkpoint; 0: none
  std::int64_t max_skipped_steps = 10;  // so many in a row end the run
  double watchdog_timeout = 600;        // seconds without a sign of life of a rank that end the job; 0: never
};

enum class LossSpikePolicy { off, warn, skip };

struct LossSpikeConfig {
  LossSpikePolicy policy = LossSpikePolicy::warn;
  std::int64_t window = 100;  // steps
  double threshold = 10;      // spreads above the median
};

struct EvaluationConfig {
  std::int64_t every = 0;          // steps between evaluations of the validation split; 0: only at the end
  std::int64_t batch_size = 8;     // documents a rank evaluates at once
  std::int64_t max_documents = 0;  // 0: all
};

/// What becomes of training when a checkpoint could not be saved.
enum class OnFailure { go_on, stop };

struct CheckpointConfig {
  std::int64_t every = 500;     // steps between checkpoints; one is always written at the end
  std::int64_t keep_last = 3;   // 0: all
  std::int64_t keep_every = 0;  // those of a multiple of so many steps stay for ever; 0: none
  bool asynchronous = true;     // training goes on while one is written
  OnFailure on_failure = OnFailure::go_on;
};

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  LossSpikeConfig loss_spike;
  EvaluationConfig evaluation;
  CheckpointConfig checkpoint;
};

/// Checks what keys say about each other, as far as neither data nor the number of ranks is needed.
/// Throws ConfigError that names the keys and their values.
void validate(const RunConfig& config);

}  // namespace palimpsest
