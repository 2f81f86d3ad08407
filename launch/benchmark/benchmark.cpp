#include "launch/benchmark/benchmark.h"
#include "layers/training_pass.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <sys/resource.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "launch/benchmark/machine_peak.h"
#include "launch/benchmark/training_steps.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_plan.h"
#include "launch/training/trained_parameters.h"
#include "layers/decode_state.h"
#include "layers/language_model.h"
#include "layers/model_flops.h"

namespace palimpsest {

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

/// Largest resident memory since the start of the process (VmHWM).
std::int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The model of a configuration with what measuring it needs.
class Bench {
 public:
  Bench(const RunConfig& config, const BenchmarkOptions& options, Communicator& communicator)
      : config_(config),
        options_(options),
        communicator_(communicator),
        start_(Clock::now()),
        threads_(configure_threads(config.train.threads, communicator)),
        lanes_(plan_lanes(config.train, communicator.size())),
        sequence_ranks_(sequence_group(communicator, config.train.sequence_ranks)),
        model_(state_pool_, config.model, compute_type(config.train.precision, communicator)) {
    model_.initialize(config.train.seed);
    result_.topology = find_topology();
    result_.precision = name_of(model_.compute_type());
    result_.threads = threads_.threads;
    result_.ranks = communicator.size();
    result_.parameters = model_.parameters().elements();
    result_.parameter_bytes = static_cast<std::int64_t>(state_pool_.statistics().bytes_in_use);
    result_.plan = plan_passes(config, model_.compute_type(), communicator.size(), threads_.ranks_on_host,
                               {.trained = choose_trained(config.train.trainable, model_.parameters())});
    result_.sequence_ranks = static_cast<int>(config.train.sequence_ranks);
  }

  BenchmarkResult run() {
    using Subject = BenchmarkOptions::Subject;
    // Before and after, since the speed of shared machines drifts.
    const MatmulPeak before = measure_peak();
    switch (options_.subject) {
      case Subject::training: measure_training(); break;
      case Subject::forward: measure_forward(); break;
      case Subject::generation: measure_generation(); break;
    }
    result_.peak_memory_bytes = peak_memory();
    result_.huge_pages = find_huge_pages();
    const MemoryPool::Statistics step = step_pool_.statistics();
    result_.step_bytes = static_cast<std::int64_t>(step.peak_bytes_in_use);
    result_.committed_bytes =
        static_cast<std::int64_t>(step.committed_bytes + state_pool_.statistics().committed_bytes);
    const MatmulPeak after = measure_peak();
    result_.matmul_peak = {std::max(before.gflops, after.gflops),
                           std::max(before.processor_gflops, after.processor_gflops)};
    return result_;
  }

 private:
  /// In memory of its own, so that it counts in no step's.
  MatmulPeak measure_peak() const {
    MemoryPool pool;
    return measure_matmul_peak(pool, model_.compute_type());
  }

  /// Times `step` and counts its page faults, after the warm-up.
  template <class Step>
  void measure(std::int64_t warm_up, std::int64_t steps, Step step) {
    result_.start_seconds = seconds_since(start_);
    for (std::int64_t i = 0; i < warm_up; ++i) step(false);
    const std::int64_t faults = page_faults();
    for (std::int64_t i = 0; i < steps; ++i) {
      const auto start = Clock::now();
      const double used = processor_seconds();
      step(true);
      result_.step_seconds.push_back(seconds_since(start));
      result_.step_processor_seconds.push_back(processor_seconds() - used);
    }
    result_.page_faults_per_step = static_cast<double>(page_faults() - faults) / static_cast<double>(steps);
  }

  void measure_training() {
    result_.subject = "training";
    result_.tokens_per_step = lanes_.per_rank * config_.train.sequence_length / config_.train.sequence_ranks;
    result_.model_flops_per_token = training_flops_per_token(config_.model, config_.train.sequence_length);
    const TrainingSteps::Setting setting{config_, result_.plan, lanes_, model_, state_pool_, step_pool_};
    // Before and after, since the speed of shared machines drifts.
    const bool alone = communicator_.size() > 1 && options_.alone_steps > 0;
    std::vector<double> alone_seconds;
    if (alone) measure_alone(setting, 1, alone_seconds);
    measure_together(setting);
    if (alone) measure_alone(setting, 0, alone_seconds);
    if (alone_seconds.empty()) return;
    const std::int64_t tokens = lanes_.per_rank * config_.train.sequence_length;
    result_.alone_tokens_per_second = static_cast<double>(tokens) / median(alone_seconds);
  }

  void measure_together(const TrainingSteps::Setting& setting) {
    TrainingSteps steps(setting, communicator_, sequence_ranks_.get());
    measure(options_.warm_up, options_.steps,
            [&](bool counts) { steps.step(counts ? &result_ : nullptr, options_.steps); });
    for (const Parameter& parameter : model_.parameters()) {
      if (!parameter.trained()) continue;
      result_.gradient_bytes += static_cast<std::int64_t>(parameter.variable.gradient().bytes());
    }
    result_.optimizer_bytes = steps.optimizer_bytes();
    result_.communication_alone_seconds = steps.communication_alone();
  }

  /// The same lanes, whole sequences of them, on rank 0 while the others sleep. Adds its times to `seconds`.
  void measure_alone(const TrainingSteps::Setting& setting, int warm_up, std::vector<double>& seconds) {
    const std::byte mine{};
    std::vector<std::byte> all(static_cast<std::size_t>(communicator_.size()));
    if (communicator_.is_root()) {
      const auto single = single_process();
      TrainingSteps steps(setting, *single, nullptr);
      for (int i = 0; i < warm_up; ++i) steps.step(nullptr, 1);
      for (std::int64_t i = 0; i < options_.alone_steps; ++i) {
        const auto start = Clock::now();
        steps.step(nullptr, 1);
        seconds.push_back(seconds_since(start));
      }
    }
    Transfer done = communicator_.begin_all_gather(std::span(&mine, 1), all);
    while (!done.done()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    model_.initialize(config_.train.seed);
  }

  void measure_forward() {
    result_.subject = "forward";
    result_.tokens_per_step = lanes_.per_micro_batch * config_.train.sequence_length / config_.train.sequence_ranks;
    result_.model_flops_per_token = inference_flops_per_token(config_.model, config_.train.sequence_length);
    const TokenBatch batch =
        synthetic_batch(lanes_.per_micro_batch, config_.train.sequence_length, config_.model.vocab_size);
    measure(options_.warm_up, options_.steps, [&](bool) {
      SequenceState memory = model_.empty_state(step_pool_, lanes_.per_micro_batch);
      palimpsest::token_losses(model_, step_pool_, batch, memory, sequence_ranks_.get());
    });
  }

  void measure_generation() {
    result_.subject = "generation";
    result_.context = options_.context;
    result_.sequences = result_.tokens_per_step = options_.sequences;
    result_.model_flops_per_token = inference_flops_per_token(config_.model, config_.model.segment_length);
    const std::int64_t embedding =
        config_.model.tie_embeddings ? 0 : config_.model.vocab_size * config_.model.hidden_size;
    result_.weight_bytes_per_token = static_cast<double>((result_.parameters - embedding) *
                                                         static_cast<std::int64_t>(size_of(model_.compute_type()))) /
                                     static_cast<double>(options_.sequences);
    result_.stream_gigabytes_per_second = measure_stream_bandwidth(step_pool_);
    const TokenBatch prompt = synthetic_batch(1, options_.context, config_.model.vocab_size);
    DecodeState start(model_, step_pool_);
    start.advance(prompt.inputs);
    DecodeState decoder = start.copies(options_.sequences);
    std::vector<std::vector<std::int32_t>> tokens(static_cast<std::size_t>(options_.sequences));
    std::int32_t next = 0;
    measure(8, options_.steps, [&](bool) {
      for (auto& token : tokens) token = {next++ % 7};
      decoder.advance(tokens);
    });
    result_.stream_gigabytes_per_second =
        std::max(result_.stream_gigabytes_per_second, measure_stream_bandwidth(step_pool_));
  }

  const RunConfig& config_;
  const BenchmarkOptions& options_;
  Communicator& communicator_;
  Clock::time_point start_;
  ThreadPlan threads_;
  LanePlan lanes_;
  std::unique_ptr<Communicator> sequence_ranks_;
  MemoryPool state_pool_, step_pool_;
  LanguageModel model_;
  BenchmarkResult result_;
};

}  // namespace

double BenchmarkResult::tokens_per_second() const {
  return static_cast<double>(tokens_per_step) / median(step_seconds);
}
double BenchmarkResult::slowest_tokens_per_second() const {
  return static_cast<double>(tokens_per_step) / *std::max_element(step_seconds.begin(), step_seconds.end());
}
double BenchmarkResult::fastest_tokens_per_second() const {
  return static_cast<double>(tokens_per_step) / *std::min_element(step_seconds.begin(), step_seconds.end());
}
double BenchmarkResult::model_gflops() const { return tokens_per_second() * model_flops_per_token / 1e9; }
double BenchmarkResult::utilization() const { return model_gflops() / matmul_peak.gflops; }

BenchmarkResult run_benchmark(const RunConfig& config, const BenchmarkOptions& options, Communicator& communicator) {
  RunConfig resolved = config;
  if (resolved.model.vocab_size == 0) throw ConfigError("bench uses no data: model.vocab_size must be set");
  if (resolved.distillation.teaches() && options.subject == BenchmarkOptions::Subject::training) {
    throw ConfigError(fmt::format("bench measures training without a teacher: distillation.share is {}, expected 0",
                                  resolved.distillation.share));
  }
  if (resolved.data.kind == DataKind::queries && resolved.data.queries.contrast.weight > 0 &&
      options.subject == BenchmarkOptions::Subject::training) {
    throw ConfigError(fmt::format("bench measures training without contrast: data.contrast is {}, expected 0",
                                  resolved.data.queries.contrast.weight));
  }
  resolved.model = resolved.model.resolved();
  return Bench(resolved, options, communicator).run();
}

}  // namespace palimpsest
