// Measures training, evaluation and generation on synthetic tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "autograd/operator_profile.h"
#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "launch/benchmark/machine_peak.h"
#include "launch/benchmark/machine_topology.h"
#include "layers/pass_plan.h"

namespace palimpsest {

struct BenchmarkOptions {
  enum class Subject { training, forward, generation };
  Subject subject = Subject::training;
  std::int64_t steps = 5;        // measured
  std::int64_t warm_up = 2;      // before them
  std::int64_t context = 1000;   // tokens before the generated ones
  std::int64_t sequences = 1;    // generated side by side
  std::int64_t alone_steps = 0;  // of rank 0 with the others asleep, for comparison: so many before, as many after
};

struct BenchmarkResult {
  std::string subject;
  std::string precision;
  PassPlan plan{};
  int threads = 1;
  int ranks = 1;
  int sequence_ranks = 1;  // that share each sequence
  std::int64_t parameters = 0;
  std::int64_t tokens_per_step = 0;            // of one rank
  std::vector<double> step_seconds;            // of the measured steps
  std::vector<double> step_processor_seconds;  // the same steps', of all threads together
  double model_flops_per_token = 0;
  MatmulPeak matmul_peak;  // of one rank's threads, the same precision
  double stream_gigabytes_per_second = 0;
  // These are a step's means.
  double optimizer_seconds = 0;
  double communication_seconds = 0;  // until all sums of gradients were there, when no rank computed any more
  double waiting_seconds = 0;        // for ranks that computed longer
  // In which nothing but communication of gradients and parameters went on: what is left of them after backward, and
  // waiting for parameters in forward.
  double exposed_seconds = 0;
  double communication_alone_seconds = 0;  // the same communication afterwards, with nothing to hide behind
  std::int64_t bytes_sent_per_step = 0;    // by this rank to others
  std::int64_t communication_calls_per_step = 0;
  std::int64_t optimizer_bytes = 0;  // state of this rank
  OperatorProfile operators;         // seconds of all measured steps
  double page_faults_per_step = 0;
  MachineTopology topology;  // of this rank
  HugePages huge_pages;      // after the measured steps
  // Largest amounts of memory: of the process, and what of it tensors account for.
  std::int64_t peak_memory_bytes = 0;
  std::int64_t parameter_bytes = 0;   // with bfloat16 copies
  std::int64_t gradient_bytes = 0;    // of parameters
  std::int64_t step_bytes = 0;        // all that a step used at once, gradients included
  std::int64_t committed_bytes = 0;   // by the pools, for all of these
  double weight_bytes_per_token = 0;  // generation: read from memory, once for all sequences
  std::int64_t sequences = 1;         // generation: side by side
  double start_seconds = 0;           // until the first step
  std::int64_t context = 0;
  double alone_tokens_per_second = 0;  // of rank 0 with the others asleep; 0: not measured, or another rank

  /// Tokens of one rank per second: the median step, and the slowest and fastest.
  double tokens_per_second() const;
  double slowest_tokens_per_second() const;
  double fastest_tokens_per_second() const;
  double model_gflops() const;
  /// Model FLOP/s over the matmul peak.
  double utilization() const;
};

/// Runs the benchmark of a configuration; only its model, train and optimizer sections count, and a
/// vocabulary size must be set. Collective.
BenchmarkResult run_benchmark(const RunConfig& config, const BenchmarkOptions& options, Communicator& communicator);

std::string format_benchmark(const BenchmarkResult& result);
nlohmann::ordered_json to_json(const BenchmarkResult& result);

}  // namespace palimpsest
