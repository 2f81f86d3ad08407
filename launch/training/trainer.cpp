#include "launch/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/matmul.h"
#include "data/open_source.h"
#include "launch/output/exit_codes.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/training/banner.h"
#include "launch/training/run_plan.h"
#include "launch/training/trained_parameters.h"
#include "layers/model_flops.h"

namespace palimpsest {

namespace {

std::vector<EvaluatedFile> open_evaluated(const RunConfig& config, const TokenSource& source) {
  std::vector<EvaluatedFile> evaluated;
  const auto open = [&](const std::string& name, const std::string& path) {
    TokenFile file(path);
    if (file.tokenizer_identity() != source.tokenizer_identity()) {
      throw DataError(fmt::format("{}: was packed with tokenizer {}, {} with {}", file.path().string(),
                                  file.tokenizer_identity(), source.name(), source.tokenizer_identity()));
    }
    evaluated.push_back({name, std::move(file)});
  };
  if (!config.data.validation.empty()) open("validation", config.data.validation);
  for (const EvaluationSet& set : config.evaluation.sets) open(set.name, set.file);
  return evaluated;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, Communicator& communicator, OpenStoredModel open_stored)
    : open_stored_(std::move(open_stored)),
      guard_(config.train, communicator),
      communicator_(communicator),
      source_(open_source(config.data, plan_source(config))),
      evaluated_(open_evaluated(config, *source_)),
      config_(resolve(config, *source_, communicator_.size())),
      sequence_ranks_(sequence_group(communicator_, config_.train.sequence_ranks)),
      lanes_(plan_lane_run(config_.train, communicator_.rank(), communicator_.size())),
      directory_(config_.train.run_directory),
      log_(guard_.open(directory_)),
      threads_(configure_threads(config_.train.threads, communicator_)),
      model_(state_pool_, config_.model, compute_type(config_.train.precision, communicator_)),
      teacher_(open_teacher(config_, open_stored_, source_->tokenizer_identity(), model_.compute_type(), state_pool_,
                            communicator_)),
      trained_(choose_trained(config_.train.trainable, model_.parameters())),
      step_({.config = config_,
             .lanes = plan_lanes(config_.train, communicator_.size()),
             .plan = plan_passes(config_, model_.compute_type(), communicator_.size(), threads_.ranks_on_host, kept()),
             .model = model_,
             .state_pool = state_pool_,
             .step_pool = step_pool_,
             .communicator = communicator_,
             .sequence_ranks = sequence_ranks_.get(),
             .observer = guard_,
             .sources = source_->mixed().size(),
             .teacher = teacher_ ? teacher_->model.get() : nullptr}),
      state_(step_.empty_state()),
      tokenizer_{source_->tokenizer_identity(), std::string(source_->tokenizer_model())},
      checkpoints_({config_, directory_, guard_, log_}, components(),
                   {communicator_.size(), threads_.threads, instruction_set()}) {
  for (const std::string& warning : threads_.warnings) log_.warn(warning);
  if (const auto text = precision_warning(config_.train.precision, model_.compute_type()); !text.empty()) {
    log_.warn(text);
  }
  model_.initialize(config_.train.seed);
  if (const SummaryEvaluationConfig& summaries = config_.evaluation.summaries; !summaries.pairs.empty()) {
    summaries_.emplace(summaries, tokenizer_.tokenizer(), communicator_);
  }
}

Kept Trainer::kept() const { return {.trained = trained_, .teacher = teacher_ ? &teacher_->model->config() : nullptr}; }

Components Trainer::components() {
  const TrainConfig& train = config_.train;
  Components components;
  components.push_back(std::make_unique<ProgressComponent>(state_.progress));
  components.push_back(std::make_unique<ParametersComponent>(model_.parameters()));
  components.push_back(std::make_unique<OptimizerComponent>(step_.optimizer()));
  components.push_back(std::make_unique<CarriedComponent>(
      state_, CarriedComponent::Setting{.carries = train.carry_memory,
                                        .lanes = train.batch_size,
                                        .places = train.interleave,
                                        .saves = leads_sequence_group(communicator_.rank(), train.sequence_ranks),
                                        .pool = step_pool_,
                                        .communicator = communicator_}));
  components.push_back(std::make_unique<CursorComponent>(*source_));
  components.push_back(std::make_unique<LossSpikeComponent>(step_.spikes()));
  components.push_back(std::make_unique<TokenizerComponent>(tokenizer_));
  if (teacher_) components.push_back(std::make_unique<TeacherComponent>(*teacher_));
  return components;
}

int Trainer::run(std::int64_t stop_after) {
  try {
    const int exit_code = train(stop_after);
    if (exit_code == ExitCode::ok && metrics_) metrics_->finish();
    if (exit_code == ExitCode::ok && gates_) gates_->finish();
    guard_.enter(Phase::finished);
    return exit_code;
  } catch (...) {
    rethrow_with_context(guard_.status().describe());
  }
}

int Trainer::train(std::int64_t stop_after) {
  guard_.enter(Phase::loading);
  resume();
  const std::int64_t& step = state_.progress.step;
  print_banner({config_, communicator_, threads_, directory_.path(), model_, *source_, step_.plan(), step,
                teacher_ ? &*teacher_ : nullptr},
               log_);
  const std::int64_t last_step = palimpsest::last_step(config_.train, stop_after);
  const std::vector<bool> owed_files = evaluations_owed();
  const bool owed = std::ranges::find(owed_files, true) != owed_files.end();
  if (owed) {
    if (const StopReason stop = evaluate(owed_files); stop.stop()) return stop_early(stop);
  }
  const bool owed_summaries = summaries_owed();
  if (owed_summaries) {
    if (const StopReason stop = evaluate_summaries(); stop.stop()) return stop_early(stop);
  }
  if (step >= last_step) {
    if (!owed && !owed_summaries) log_.note(fmt::format("Nothing to do: step {} of {} is reached", step, last_step));
    return ExitCode::ok;
  }
  checkpoints_.prepare();
  while (step < last_step) {
    const StepResult result = take_step();
    log_step(result);
    checkpoints_.poll();
    const bool last = step == last_step, stopping = last || result.stop.stop();
    if (stopping || step % config_.checkpoint.every == 0) start_checkpoint();
    if (stopping || !config_.checkpoint.asynchronous) checkpoints_.finish(/*required=*/stopping);
    if (result.stop.stop() && !last) return stop_early(result.stop);
    StopReason stop;
    if (evaluation_due(step)) stop = evaluate_all();
    if (summaries_due(step) && !stop.stop()) stop = evaluate_summaries();
    if (stop.stop()) {
      ensure_checkpoint();
      return stop_early(stop);
    }
  }
  log_.note(step == config_.train.steps
                ? fmt::format("Done: {} steps, {} tokens", step, state_.progress.tokens)
                : fmt::format("Stopped after step {} as asked; the same command without --stop-after resumes", step));
  return ExitCode::ok;
}

void Trainer::resume() {
  checkpoints_.resume();
  if (checkpoints_.saved_step() == 0 && !config_.train.initial_weights.empty()) take_initial_weights();
  if (!communicator_.is_root()) return;
  write_result(directory_.config(), to_yaml(config_));
  const auto warn = [this](const std::string& text) { log_.warn(text); };
  least_losses_.read(directory_.metrics(), state_.progress.step);
  metrics_.emplace(directory_.metrics(), state_.progress.step, warn);
  if (!gate_values(model_.parameters()).empty())
    gates_.emplace(gates_beside(directory_.metrics()), state_.progress.step, warn);
  if (config_.train.tensorboard) events_.emplace(directory_.tensorboard(), state_.progress.step, warn);
}

void Trainer::append_metrics(const nlohmann::ordered_json& line) {
  if (metrics_) metrics_->append(line);
  if (events_) events_->append(line);
}

void Trainer::take_initial_weights() {
  MemoryPool pool;
  const StoredModel stored = open_stored_(config_.train.initial_weights, communicator_, pool);
  const TakenWeights taken =
      take_weights(stored, config_, tokenizer_.identity, config_.train.allow_unused_weights, model_.parameters());
  step_.optimizer().remember_initial(model_.parameters());
  log_.note(fmt::format("Beginning with the weights of {}", stored.path));
  const auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) log_.note(fmt::format("  {:<14} {}", what, fmt::join(names, ", ")));
  };
  list("initialized", taken.initialized);
  list("left out", taken.unused);
  list("changed", taken.differences);
}

void Trainer::start_checkpoint() {
  guard_.enter(Phase::saving);
  if (metrics_) metrics_->synchronize();
  if (gates_) gates_->synchronize();
  step_.wait();
  checkpoints_.start(state_.progress.step);
}

void Trainer::ensure_checkpoint() {
  checkpoints_.finish(/*required=*/false);
  if (checkpoints_.saved_step() == state_.progress.step) return;
  start_checkpoint();
  checkpoints_.finish(/*required=*/true);
}

StepResult Trainer::take_step() {
  const std::int64_t step = state_.progress.step + 1;
  guard_.begin_step(step, evaluation_due(step) || summaries_due(step));
  guard_.enter(Phase::data);
  const TokenBatch batch = source_->next(lanes_);
  StepResult result = step_.step(batch, state_);
  if (result.sources.empty()) {
    source_->observe(result.answers);
  } else {
    source_->observe_each(result.sources);
    if (!result.skipped) mixed_losses_.add(result.sources);
  }
  heed(result);
  const double seconds = guard_.step_seconds();
  // What is read: work does not depend on how many of the tokens are targets.
  pace_.add(config_.train.batch_size * config_.train.sequence_length, seconds);
  ++unlogged_.steps;
  unlogged_.seconds += seconds;
  guard_.time_limit().step_took(seconds);
  return result;
}

void Trainer::heed(const StepResult& result) {
  const Progress& progress = state_.progress;
  if (!result.skipped) {
    if (!result.warning.empty()) log_.warn(fmt::format("step {}: {}", progress.step, result.warning));
    return;
  }
  log_.warn(fmt::format("step {}: {}; step skipped ({} in a row)", progress.step, result.warning,
                        progress.consecutive_skips));
  if (progress.consecutive_skips >= config_.train.max_skipped_steps) {
    checkpoints_.finish(/*required=*/false);  // one under way is from before the trouble
    throw NumericalError(
        fmt::format("{} steps in a row were skipped (train.max_skipped_steps), the last being step {}: {}",
                    progress.consecutive_skips, progress.step, result.warning));
  }
}

void Trainer::log_step(const StepResult& result) {
  const TrainConfig& train = config_.train;
  const std::int64_t step = state_.progress.step;
  const bool due = step == 1 || step % train.log_every == 0 || step == train.steps;
  const StepMetrics metrics{.step = step,
                            .tokens = state_.progress.tokens,
                            .loss = result.has_targets() ? result.loss : std::numeric_limits<double>::quiet_NaN(),
                            .has_targets = result.has_targets(),
                            .gradient_norm = result.gradient_norm,
                            .learning_rate = result.rates.model,
                            .memory_gate_learning_rate = result.rates.memory_gate,
                            .tokens_per_second = pace_.items_per_second(),
                            .step_seconds = unlogged_.seconds / static_cast<double>(unlogged_.steps),
                            .model_flops_per_second = pace_.items_per_second() *
                                                      training_flops_per_token(config_.model, train.sequence_length),
                            .time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()),
                            .skipped_steps = state_.progress.skipped_steps,
                            .sources = due ? mixed_losses_.take(source_->mixed()) : std::vector<SourceMetrics>(),
                            .divergence = result.divergence,
                            .contrast = result.contrast,
                            .answers = result.answers,
                            .position = source_->position()};
  log_.progress(format_step(metrics, train.steps, pace_.seconds_for(train.steps - step)), due);
  if (!due) return;
  unlogged_ = {};
  append_metrics(metrics.to_json());
  if (gates_ && gates_due(step, train.steps, train.log_every)) {
    gates_->append(gates_line(step, gate_values(model_.parameters())));
  }
}

int Trainer::stop_early(const StopReason& reason) {
  log_.note(fmt::format("Stopped by {} after step {}; the same command resumes",
                        reason.signal != 0 ? signal_name(reason.signal) : "train.time_limit", state_.progress.step));
  return reason.signal != 0 ? ExitCode::signal_base + reason.signal : ExitCode::time_limit;
}

}  // namespace palimpsest
