// What the trainer (launch/training/trainer.h) is told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "layers/pass_options.h"

namespace palimpsest {

enum class Precision { float32, bfloat16 };

struct TrainConfig {
  std::string run_directory = "runs/default";
  std::string initial_weights;         // of a run, a checkpoint or a Hugging Face folder; empty: drawn at random
  bool allow_unused_weights = false;   // of these, where the model has no place for them
  std::vector<std::string> trainable;  // patterns of the names of parameters; empty: all are trained
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
  std::int64_t interleave = 1;      // places in the data that a lane reads in turn, a step of each
  double fresh_memory = 0;          // share of the lanes and steps that begin with an empty one nevertheless
  std::int64_t threads = 0;         // per rank; 0: OMP_NUM_THREADS, else its share of the cores
  bool overlap_gradients = true;    // gradients and shared-out parameters travel behind computation
  double gradient_bucket = 1;       // MiB
  WireType gradient_wire = WireType::float32;
  bool overlap_memory = true;  // states of memory travel behind local attention where ranks share a sequence
  std::int64_t log_every = 10;
  bool tensorboard = false;
  double time_limit = 0;                // seconds after which the run stops with a checkpoint; 0: none
  std::int64_t max_skipped_steps = 10;  // so many in a row end the run
  double watchdog_timeout = 600;        // seconds without a sign of life of a rank that end the job; 0: never
};

}  // namespace palimpsest
