#include "launch/benchmark/benchmark.h"

#include <algorithm>
#include <chrono>

#include <sys/resource.h>

#include <fmt/format.h>

#include "core/comm/counting_communicator.h"
#include "core/elapsed.h"
#include "core/error.h"
#include "core/random.h"
#include "launch/benchmark/machine_peak.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_plan.h"
#include "layers/decoder.h"
#include "layers/language_model.h"
#include "layers/model_flops.h"
#include "optim/gradient_norm.h"
#include "optim/gradient_reducer.h"
#include "optim/learning_rate.h"
#include "optim/optimizer.h"
#include "optim/sharded_update.h"

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

/// One document of random tokens per lane.
TokenBatch synthetic_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t vocabulary) {
  TokenBatch batch;
  batch.lanes = lanes;
  batch.tokens = tokens;
  const Random random(1, RandomPurpose::data);
  const auto count = static_cast<std::size_t>(lanes * tokens);
  for (std::size_t i = 0; i < count; ++i) {
    batch.inputs.push_back(static_cast<std::int32_t>(random.below(2 * i, static_cast<std::uint64_t>(vocabulary))));
    batch.targets.push_back(static_cast<std::int32_t>(random.below(2 * i + 1, static_cast<std::uint64_t>(vocabulary))));
  }
  batch.documents.assign(count, 0);
  batch.loss_weights.assign(count, 1.0f);
  return batch;
}

/// The model of a configuration with what measuring it needs.
class Bench {
 public:
  Bench(const RunConfig& config, const BenchmarkOptions& options, Communicator& communicator)
      : config_(config),
        options_(options),
        communicator_(communicator),
        counting_(communicator),
        start_(Clock::now()),
        threads_(configure_threads(config.train.threads, communicator)),
        lanes_(plan_lanes(config.train, communicator.size())),
        sequence_ranks_(sequence_group(communicator, config.train.sequence_ranks)),
        model_(state_pool_, config.model, compute_type(config.train.precision)) {
    model_.initialize(config.train.seed);
    result_.precision = name_of(model_.compute_type());
    result_.threads = threads_.threads;
    result_.ranks = communicator.size();
    result_.parameters = model_.parameters().elements();
    result_.plan = plan_passes(config, communicator.size(), threads_.ranks_on_host);
    result_.sequence_ranks = static_cast<int>(config.train.sequence_ranks);
  }

  BenchmarkResult run() {
    using Subject = BenchmarkOptions::Subject;
    // Before and after, since the speed of shared machines drifts.
    const double peak_before = measure_matmul_peak(step_pool_, model_.compute_type());
    switch (options_.subject) {
      case Subject::training: measure_training(); break;
      case Subject::forward: measure_forward(); break;
      case Subject::generation: measure_generation(); break;
    }
    result_.peak_memory_bytes = peak_memory();
    result_.matmul_peak_gflops = std::max(peak_before, measure_matmul_peak(step_pool_, model_.compute_type()));
    return result_;
  }

 private:
  /// Times `step` and counts its page faults, after the warm-up.
  template <class Step>
  void measure(std::int64_t warm_up, std::int64_t steps, Step step) {
    result_.start_seconds = seconds_since(start_);
    for (std::int64_t i = 0; i < warm_up; ++i) step(false);
    const std::int64_t faults = page_faults();
    for (std::int64_t i = 0; i < steps; ++i) {
      const auto start = Clock::now();
      step(true);
      result_.step_seconds.push_back(seconds_since(start));
    }
    result_.page_faults_per_step = static_cast<double>(page_faults() - faults) / static_cast<double>(steps);
  }

  void measure_training() {
    result_.subject = "training";
    result_.tokens_per_step = lanes_.per_rank * config_.train.sequence_length / config_.train.sequence_ranks;
    result_.model_flops_per_token = training_flops_per_token(config_.model, config_.train.sequence_length);
    const ParameterShares shares = share_parameters(config_.optimizer, model_.parameters(), communicator_);
    const auto optimizer = make_optimizer(config_.optimizer, model_.parameters(), state_pool_, shares);
    result_.optimizer_bytes = static_cast<std::int64_t>(optimizer->state_bytes());
    const TokenBatch batch =
        synthetic_batch(lanes_.per_micro_batch, config_.train.sequence_length, config_.model.vocab_size);
    const double scale = 1.0 / static_cast<double>(config_.train.batch_size * config_.train.sequence_length);
    GradientReducer reducer(model_.parameters(), counting_, step_pool_, reduction_options(config_.train), shares);
    std::int64_t done = 0;
    measure(options_.warm_up, options_.steps, [&](bool counts) {
      counting_.reset();
      model_.parameters().clear_gradients();
      for (std::int64_t lane = 0; lane < lanes_.per_rank; lane += lanes_.per_micro_batch) {
        MemoryState memory = model_.empty_memory(step_pool_, lanes_.per_micro_batch);
        PassOptions options{.schedule = result_.plan.schedule,
                            .recompute = result_.plan.recompute,
                            .loss_scale = scale,
                            .profile = counts ? &result_.operators : nullptr,
                            .sequence_ranks = sequence_ranks_.get()};
        if (config_.train.overlap_gradients && lane + lanes_.per_micro_batch == lanes_.per_rank) {
          options.gradients_final = [&](std::size_t begin, std::size_t end) { reducer.begin(begin, end); };
        }
        model_.accumulate_gradients(step_pool_, batch, memory, options);
      }
      // Apart from each other: waiting for ranks that compute longer, and for what still travels once none does.
      const auto waiting = Clock::now();
      communicator_.barrier();
      const auto communicating = Clock::now();
      GradientNorm norm(model_.parameters(), counting_);
      reducer.finish([&](std::size_t index) { norm.add(index); });
      const auto updating = Clock::now();
      const LearningRates rates = learning_rate_at(config_.optimizer, done++, 1'000'000);
      const double scale_to_clip = clip_factor(norm.total(), config_.optimizer.clip_norm);
      update_shared_out(*optimizer, model_.parameters(), rates, scale_to_clip, counting_);
      if (!counts) return;
      const auto steps = static_cast<double>(options_.steps);
      result_.optimizer_seconds += seconds_since(updating) / steps;
      result_.communication_seconds += std::chrono::duration<double>(updating - communicating).count() / steps;
      result_.waiting_seconds += std::chrono::duration<double>(communicating - waiting).count() / steps;
      result_.exposed_seconds += counting_.counts().seconds_waited() / steps;
      result_.bytes_sent_per_step = counting_.counts().bytes();
      result_.communication_calls_per_step = counting_.counts().calls();
    });
    measure_communication_alone(reducer, shares);
  }

  /// The sums of a step's gradients and the gathering of its parameters, the fastest of a few times.
  void measure_communication_alone(GradientReducer& reducer, const ParameterShares& shares) {
    if (communicator_.size() == 1) return;
    for (int i = 0; i < 3; ++i) {
      communicator_.barrier();
      const auto start = Clock::now();
      reducer.finish();
      std::vector<Transfer> transfers;
      for (std::size_t index = 0; index < model_.parameters().size(); ++index) {
        Tensor& master = model_.parameters().all()[index].master;
        if (shares.cut(index)) transfers.push_back(communicator_.begin_all_gather_shares(master.values<float>()));
      }
      for (Transfer& transfer : transfers) transfer.wait();
      const double seconds = seconds_since(start);
      double& fastest = result_.communication_alone_seconds;
      fastest = i == 0 ? seconds : std::min(fastest, seconds);
    }
  }

  void measure_forward() {
    result_.subject = "forward";
    result_.tokens_per_step = lanes_.per_micro_batch * config_.train.sequence_length / config_.train.sequence_ranks;
    result_.model_flops_per_token = inference_flops_per_token(config_.model, config_.train.sequence_length);
    const TokenBatch batch =
        synthetic_batch(lanes_.per_micro_batch, config_.train.sequence_length, config_.model.vocab_size);
    measure(options_.warm_up, options_.steps, [&](bool) {
      MemoryState memory = model_.empty_memory(step_pool_, lanes_.per_micro_batch);
      model_.token_losses(step_pool_, batch, memory, sequence_ranks_.get());
    });
  }

  void measure_generation() {
    result_.subject = "generation";
    result_.context = options_.context;
    result_.tokens_per_step = 1;
    result_.model_flops_per_token = inference_flops_per_token(config_.model, config_.model.segment_length);
    const std::int64_t embedding =
        config_.model.tie_embeddings ? 0 : config_.model.vocab_size * config_.model.hidden_size;
    result_.weight_bytes_per_token = static_cast<double>((result_.parameters - embedding) *
                                                         static_cast<std::int64_t>(size_of(model_.compute_type())));
    result_.stream_gigabytes_per_second = measure_stream_bandwidth(step_pool_);
    const TokenBatch prompt = synthetic_batch(1, options_.context, config_.model.vocab_size);
    Decoder decoder(model_, step_pool_);
    decoder.advance(prompt.inputs);
    std::int32_t token = 0;
    measure(8, options_.steps, [&](bool) { decoder.advance(token++ % 7); });
    result_.stream_gigabytes_per_second =
        std::max(result_.stream_gigabytes_per_second, measure_stream_bandwidth(step_pool_));
  }

  const RunConfig& config_;
  const BenchmarkOptions& options_;
  Communicator& communicator_;
  CountingCommunicator counting_;
  Clock::time_point start_;
  ThreadPlan threads_;
  LanePlan lanes_;
  std::unique_ptr<Communicator> sequence_ranks_;
  MemoryPool state_pool_, step_pool_;
  LanguageModel model_;
  BenchmarkResult result_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

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
double BenchmarkResult::utilization() const { return model_gflops() / matmul_peak_gflops; }

BenchmarkResult run_benchmark(const RunConfig& config, const BenchmarkOptions& options, Communicator& communicator) {
  RunConfig resolved = config;
  if (resolved.model.vocab_size == 0) throw ConfigError("bench uses no data: model.vocab_size must be set");
  resolved.model = resolved.model.resolved();
  return Bench(resolved, options, communicator).run();
}

}  // namespace palimpsest
