#include "launch/training/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "core/sequence_share.h"
#include "launch/exit_codes.h"
#include "launch/inference/evaluator.h"
#include "launch/ranks/placement.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/ranks/threads.h"
#include "launch/report.h"
#include "launch/training/run_plan.h"
#include "optim/gradient_norm.h"
#include "optim/learning_rate.h"

namespace palimpsest {

namespace {

/// Lanes [begin, begin + count) of a batch.
TokenBatch micro_batch(const TokenBatch& batch, std::int64_t begin, std::int64_t count) {
  const auto slice = [&]<class T>(const std::vector<T>& values) {
    return std::vector<T>(values.begin() + begin * batch.tokens, values.begin() + (begin + count) * batch.tokens);
  };
  return {count,
          batch.tokens,
          slice(batch.inputs),
          slice(batch.targets),
          slice(batch.documents),
          slice(batch.loss_weights)};
}

TokenFile open_train_file(const DataConfig& config) {
  if (config.train.empty()) throw ConfigError("data.train is empty: it names the token file to train on");
  return TokenFile(config.train);
}

}  // namespace

Trainer::Trainer(const RunConfig& config, Communicator& communicator)
    : start_guard_(std::in_place, config.train.watchdog_timeout,
                   [seconds = config.train.watchdog_timeout] { end_start(seconds); }),
      communicator_(communicator, status_),
      train_file_(open_train_file(config.data)),
      config_(resolve(config, train_file_, communicator_.size())),
      sequence_ranks_(sequence_group(communicator_, config_.train.sequence_ranks)),
      directory_(config_.train.run_directory),
      time_limit_(config_.train.time_limit),
      spikes_(config_.loss_spike),
      model_(state_pool_, config_.model, compute_type(config_.train.precision, communicator)),
      stream_(train_file_, plan_stream(config_.train, communicator_.rank(), communicator_.size())),
      checkpointer_(
          CheckpointStore(directory_.checkpoints(), {config_.checkpoint.keep_last, config_.checkpoint.keep_every},
                          [this](const std::string& text) { log_.warn(text); }),
          communicator_, config_.checkpoint.asynchronous, [this](Phase phase) { status_.enter(phase); }) {
  if (!config_.data.validation.empty()) {
    validation_file_.emplace(config_.data.validation);
    if (validation_file_->tokenizer_identity() != train_file_.tokenizer_identity()) {
      throw DataError(fmt::format("{}: was packed with tokenizer {}, {} with {}", validation_file_->path().string(),
                                  validation_file_->tokenizer_identity(), train_file_.path().string(),
                                  train_file_.tokenizer_identity()));
    }
  }
  if (communicator_.is_root()) {
    directory_.create();
    log_ = RunLog(STDOUT_FILENO, on_terminal(STDOUT_FILENO));
    lock_.emplace(directory_, RunLock::default_patience, [this](const std::string& text) { log_.note(text); });
    log_.add_file(directory_.log());
    const std::string signs = last_signs_of_life(directory_.heartbeats());
    if (!signs.empty())
      log_.note(fmt::format("The job before did not end in order; its last signs of life: {}", signs));
    std::error_code ignored;
    std::filesystem::remove_all(directory_.heartbeats(), ignored);  // there may have been more ranks
  }
  communicator_.barrier();  // before that, no rank writes a heartbeat
  const Watchdog::Settings watchdog = {directory_.heartbeats(), communicator_.rank(), communicator_.size(), host_name(),
                                       config_.train.watchdog_timeout};
  watchdog_.emplace(
      watchdog, status_, [watchdog](const std::string& what) { end_job(watchdog, what); },
      [this, watchdog] {
        if (!lock_) return;
        const std::string lost = lock_->check();
        if (!lost.empty()) end_job(watchdog, lost);
      });
  communicator_.barrier();
  start_guard_.reset();
  const ThreadPlan plan = configure_threads(config_.train.threads, communicator_);
  threads_ = plan.threads;
  placements_ = describe_placements(plan.placements);
  for (const std::string& warning : plan.warnings) log_.warn(warning);
  pass_plan_ = plan_passes(config_, model_.compute_type(), communicator_.size(), plan.ranks_on_host);
  if (const auto text = precision_warning(config_.train.precision, model_.compute_type()); !text.empty()) {
    log_.warn(text);
  }

  model_.initialize(config_.train.seed);
  const ParameterShares shares = share_parameters(config_.optimizer, model_.parameters(), communicator_);
  optimizer_ = make_optimizer(config_.optimizer, model_.parameters(), state_pool_, shares);
  reducer_.emplace(model_.parameters(), communicator_, step_pool_, reduction_options(config_.train), shares);
  update_.emplace(*optimizer_, model_.parameters(), communicator_);
  const LanePlan lanes = plan_lanes(config_.train, communicator_.size());
  first_lane_ = group_of(communicator_.rank(), config_.train.sequence_ranks) * lanes.per_rank;
  for (std::int64_t lane = 0; lane < lanes.per_rank; lane += lanes.per_micro_batch) {
    memories_.push_back(model_.empty_memory(state_pool_, lanes.per_micro_batch));
  }
}

int Trainer::run(std::int64_t stop_after) {
  try {
    const int exit_code = train(stop_after);
    if (exit_code == ExitCode::ok && metrics_) metrics_->finish();
    status_.enter(Phase::finished);
    return exit_code;
  } catch (...) {
    rethrow_with_context(status_.describe());
  }
}

int Trainer::train(std::int64_t stop_after) {
  status_.enter(Phase::loading);
  resume();
  print_banner();
  const std::int64_t last_step = palimpsest::last_step(config_.train, stop_after);
  if (step_ >= last_step) {
    log_.note(fmt::format("Nothing to do: step {} of {} is reached", step_, last_step));
    return ExitCode::ok;
  }
  prepare_checkpoints();
  while (step_ < last_step) {
    const StepOutcome outcome = train_step();
    log_step(outcome);
    report_checkpoint(checkpointer_.poll());
    const bool last = step_ == last_step, stopping = last || outcome.stop();
    if (stopping || step_ % config_.checkpoint.every == 0) start_checkpoint();
    if (stopping || !checkpointer_.asynchronous()) finish_checkpoint(/*required=*/stopping);
    if (outcome.stop() && !last) return stop_early(outcome);
    if (evaluation_due(step_)) evaluate_validation();
  }
  log_.note(step_ == config_.train.steps
                ? fmt::format("Done: {} steps, {} tokens", step_, tokens_)
                : fmt::format("Stopped after step {} as asked; the same command without --stop-after resumes", step_));
  return ExitCode::ok;
}

int Trainer::stop_early(const StepOutcome& outcome) {
  log_.note(fmt::format("Stopped by {} after step {}; the same command resumes",
                        outcome.signal != 0 ? signal_name(outcome.signal) : "train.time_limit", step_));
  return outcome.signal != 0 ? ExitCode::signal_base + outcome.signal : ExitCode::time_limit;
}

bool Trainer::evaluation_due(std::int64_t step) const {
  if (!validation_file_) return false;
  return step == config_.train.steps || (config_.evaluation.every > 0 && step % config_.evaluation.every == 0);
}

Trainer::StepOutcome Trainer::train_step() {
  const auto start = Pace::Clock::now();
  status_.set_step(step_ + 1);
  status_.enter(Phase::data);
  const TokenBatch batch = stream_.next();
  double weight = 0;
  if (leads_sequence_group()) weight = std::accumulate(batch.loss_weights.begin(), batch.loss_weights.end(), 0.0);
  status_.enter(Phase::communication);
  communicator_.all_reduce_sum(std::span(&weight, 1));

  model_.parameters().clear_gradients();
  const std::vector<MemoryState> memories_before = memories_;  // for explanations; they share their tensors
  double loss = accumulate_gradients(batch, weight > 0 ? 1.0 / weight : 0.0);
  status_.enter(Phase::communication);
  GradientNorm gradient_norm(model_.parameters(), communicator_);
  reducer_->finish([&](std::size_t index) { gradient_norm.add(index); });
  const double norm = gradient_norm.total();
  const bool own_loss_finite = std::isfinite(loss);
  communicator_.all_reduce_sum(std::span(&loss, 1));
  if (weight > 0) loss /= weight;

  std::array<std::int64_t, 3> agreement = {!std::isfinite(loss) || !std::isfinite(norm), stop_request_.signal(),
                                           time_limit_.reached(Pace::Clock::now(), start, evaluation_due(step_ + 1))};
  communicator_.all_reduce_max(agreement);
  StepOutcome outcome;
  outcome.signal = static_cast<int>(agreement[1]);
  outcome.out_of_time = agreement[2] != 0;

  status_.enter(Phase::optimizer);
  const LearningRates rates = learning_rate_at(config_.optimizer, step_, config_.train.steps);
  const std::optional<LossSpike> spike = spikes_.look(loss);  // the loss of all ranks, so they judge alike
  if (agreement[0] != 0) {
    skip_step(explain_not_finite(memories_before, own_loss_finite));
    // What is in memory may be the cause, or have been spoilt.
    for (MemoryState& memory : memories_) memory = model_.empty_memory(step_pool_, memory.lanes());
  } else if (spike && config_.loss_spike.policy == LossSpikePolicy::skip) {
    skip_step(spike->describe());
  } else {
    if (spike) log_.warn(fmt::format("step {}: {}", step_ + 1, spike->describe()));
    update_->update(rates, clip_factor(norm, config_.optimizer.clip_norm));
    if (!config_.train.overlap_gradients) update_->wait_for_all();
    consecutive_skips_ = 0;
  }
  ++step_;
  tokens_ += std::llround(weight);
  const double seconds = seconds_since(start);
  pace_.add(weight, seconds);
  time_limit_.step_took(seconds);
  outcome.metrics = {.step = step_,
                     .tokens = tokens_,
                     .loss = loss,
                     .gradient_norm = norm,
                     .learning_rate = rates.model,
                     .memory_gate_learning_rate = rates.memory_gate,
                     .tokens_per_second = pace_.items_per_second(),
                     .skipped_steps = skipped_steps_,
                     .gates = gate_values(model_.parameters())};
  return outcome;
}

double Trainer::accumulate_gradients(const TokenBatch& batch, double loss_scale) {
  const std::int64_t lanes = batch.lanes / static_cast<std::int64_t>(memories_.size());
  double loss = 0;
  for (std::size_t i = 0; i < memories_.size(); ++i) {
    status_.enter(Phase::forward);
    if (!config_.train.carry_memory) memories_[i] = model_.empty_memory(step_pool_, lanes);
    const TokenBatch part = micro_batch(batch, static_cast<std::int64_t>(i) * lanes, lanes);
    PassOptions options{.schedule = pass_plan_.schedule,
                        .recompute = pass_plan_.recompute,
                        .loss_scale = loss_scale,
                        .sequence_ranks = sequence_ranks_.get(),
                        .overlap_memory = config_.train.overlap_memory};
    // Gradients are final in the last micro batch only: there they leave while backward goes on.
    if (config_.train.overlap_gradients && i + 1 == memories_.size()) {
      options.events.gradients_final = [this](std::size_t begin, std::size_t end) { reducer_->begin(begin, end); };
    }
    // What the last update has left under way is there once the first micro batch has used it.
    if (i == 0) options.events.needed = [this](std::size_t begin, std::size_t end) { update_->wait_for(begin, end); };
    loss += model_.accumulate_gradients(step_pool_, part, memories_[i], options);
  }
  return loss;
}

bool Trainer::leads_sequence_group() const {
  return palimpsest::leads_sequence_group(communicator_.rank(), config_.train.sequence_ranks);
}

void Trainer::log_step(const StepOutcome& outcome) {
  const bool due = step_ == 1 || step_ % config_.train.log_every == 0 || step_ == config_.train.steps;
  log_.progress(format_step(outcome.metrics, config_.train.steps, pace_.seconds_for(config_.train.steps - step_)), due);
  if (due && metrics_) metrics_->append(outcome.metrics.to_json());
}

void Trainer::print_banner() {
  const TrainConfig& train = config_.train;
  const std::int64_t tokens_per_step = train.batch_size * train.sequence_length;
  log_.note(fmt::format("Palimpsest {}: {}, {} each, {}", PALIMPSEST_VERSION, communicator_.description(),
                        format_plural(threads_, "thread"), name_of(model_.compute_type())));
  print_placements();
  log_.note(fmt::format("  run directory  {}{}", directory_.path().string(), step_ == 0 ? " (from the start)" : ""));
  log_.note(fmt::format("  model          {} parameters, {} layers, {} heads of {}, segments of {} tokens",
                        format_count(static_cast<double>(model_.parameters().elements())), config_.model.num_layers,
                        config_.model.num_heads, config_.model.head_size, config_.model.segment_length));
  log_.note(fmt::format("  data           {}: {} tokens in {} documents, vocabulary {}", train_file_.path().string(),
                        format_count(static_cast<double>(train_file_.token_count())), train_file_.document_count(),
                        train_file_.vocab_size()));
  log_.note(fmt::format("  a step         {} lanes of {} tokens; {:.1f} steps an epoch", train.batch_size,
                        train.sequence_length,
                        static_cast<double>(train_file_.token_count()) / static_cast<double>(tokens_per_step)));
  if (train.sequence_ranks > 1) {
    const auto together = static_cast<int>(train.sequence_ranks);
    log_.note(fmt::format("  sequences      each over {} neighbouring ranks, at most {} tokens a rank", together,
                          longest_share(train.sequence_length, config_.model.segment_length, together)));
  }
  log_.note(
      fmt::format("  schedule       {}, recomputing {}", name_of(pass_plan_.schedule), name_of(pass_plan_.recompute)));
  log_.note(fmt::format("  plan           steps {} to {}", step_ + 1, train.steps));
}

void Trainer::print_placements() {
  constexpr std::size_t max_hosts = 16;
  for (std::size_t host = 0; host < std::min(placements_.size(), max_hosts); ++host) {
    log_.note(fmt::format("  {:<14} {}", host == 0 ? "placement" : "", placements_[host]));
  }
  if (placements_.size() > max_hosts) {
    log_.note(fmt::format("  {:<14} and {} more hosts", "", placements_.size() - max_hosts));
  }
}

void Trainer::evaluate_validation() {
  status_.enter(Phase::evaluating);
  update_->wait_for_all();
  const EvaluationOptions options = {config_.evaluation.batch_size, config_.train.sequence_length,
                                     config_.evaluation.max_documents, sequence_ranks_.get()};
  const EvaluationResult result =
      evaluate(model_, *validation_file_, communicator_, options, [&](std::int64_t done, std::int64_t all) {
        status_.enter(Phase::evaluating);
        log_.progress(fmt::format("evaluating the validation split: {:.0f} %",
                                  100.0 * static_cast<double>(done) / static_cast<double>(all)),
                      /*lasting=*/false);
      });
  time_limit_.evaluation_took(result.seconds);
  log_.note(fmt::format("step {}  validation: {} ({} tokens in {})", step_, format_score(result.total),
                        format_count(static_cast<double>(result.total.tokens)), format_duration(result.seconds)));
  if (!metrics_) return;
  nlohmann::ordered_json line = {{"kind", "evaluation"}, {"step", step_}, {"split", "validation"}};
  nlohmann::ordered_json score = to_json(result.total);
  score.erase("name");
  line.update(score);
  metrics_->append(line);
}

}  // namespace palimpsest
