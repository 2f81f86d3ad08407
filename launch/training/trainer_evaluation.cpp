// The trainer's evaluations of the validation split and of further sets: when, within what memory, and what becomes of
// the result.
#include <array>
#include <span>

#include <fmt/format.h>

#include "launch/inference/score_report.h"
#include "launch/training/run_plan.h"
#include "launch/training/trainer.h"

namespace palimpsest {

namespace {

/// Of any rank.
StopReason agree_on(const StopReason& own, Communicator& communicator) {
  std::array<std::int64_t, 2> reasons = {own.signal, own.out_of_time ? 1 : 0};
  communicator.all_reduce_max(reasons);
  return {static_cast<int>(reasons[0]), reasons[1] != 0};
}

bool due(const TrainConfig& train, std::int64_t step, std::int64_t every) {
  // What a run goes on from is what it may forget.
  if (step == 0) return !train.initial_weights.empty();
  return step == train.steps || (every > 0 && step % every == 0);
}

std::string title_of(const EvaluatedFile& evaluated) {
  return evaluated.name == "validation" ? "the validation split" : evaluated.name;
}

}  // namespace

bool Trainer::evaluation_due(std::int64_t step) const {
  return !evaluated_.empty() && due(config_.train, step, config_.evaluation.every);
}

bool Trainer::summaries_due(std::int64_t step) const {
  return summaries_ && due(config_.train, step, config_.evaluation.summaries.every);
}

std::vector<bool> Trainer::evaluations_owed() {
  std::vector<std::int64_t> owed(evaluated_.size(), 0);
  if (evaluation_due(state_.progress.step)) {
    for (std::size_t i = 0; metrics_ && i < owed.size(); ++i) {
      owed[i] = holds_evaluation(directory_.metrics(), state_.progress.step, evaluated_[i].name) ? 0 : 1;
    }
    communicator_.all_reduce_max(std::span(owed));
  }
  return {owed.begin(), owed.end()};
}

std::int64_t Trainer::evaluation_budget() {
  model_.parameters().clear_gradients();  // their room is the evaluation's
  const MemoryPool::Statistics pool = step_pool_.statistics();
  const auto in_use = static_cast<std::int64_t>(pool.bytes_in_use - pool.scratch_bytes);  // passes share the scratch
  return pass_budget(config_, model_.compute_type(), threads_.ranks_on_host, kept()) - in_use;
}

StopReason Trainer::evaluate(const std::vector<bool>& chosen) {
  double seconds = 0;
  StopReason stop;
  for (std::size_t i = 0; i < evaluated_.size(); ++i) {
    if (!chosen[i]) continue;
    if (stop.stop()) return stop;
    const std::optional<EvaluationResult> result = evaluate(evaluated_[i], stop);
    if (!result) return stop;
    seconds += result->seconds;
    log_evaluation(evaluated_[i], *result);
  }
  evaluation_seconds_ = seconds;
  guard_.time_limit().evaluation_took(seconds);
  return {};
}

std::optional<EvaluationResult> Trainer::evaluate(const EvaluatedFile& evaluated, StopReason& stop) {
  guard_.enter(Phase::evaluating);
  step_.wait();
  const EvaluationOptions options = {.batch_size = config_.evaluation.batch_size,
                                     .tokens_at_once = config_.train.sequence_length,
                                     .max_documents = config_.evaluation.max_documents,
                                     .memory_budget = evaluation_budget(),
                                     .sequence_ranks = sequence_ranks_.get()};
  Evaluation evaluation(model_, evaluated.file, communicator_, options, step_pool_);
  guard_.begin_batch();
  EvaluationResult result = evaluation.run([&](const EvaluationProgress& progress) {
    checkpoints_.poll();
    guard_.enter(Phase::evaluating);
    stop = agree_on(guard_.stop_reason(), communicator_);
    guard_.begin_batch();
    if (progress.all > 0) {
      log_.progress(fmt::format("evaluating {}: {:.0f} %", title_of(evaluated),
                                100.0 * static_cast<double>(progress.done) / static_cast<double>(progress.all)),
                    /*lasting=*/false);
    }
    return stop.stop();
  });
  if (result.complete()) return result;
  log_.note(fmt::format("step {}  {}: stopped with {} unread; resuming evaluates this step again", state_.progress.step,
                        evaluated.name, format_plural(result.unfinished, "document")));
  return std::nullopt;
}

void Trainer::log_evaluation(const EvaluatedFile& evaluated, const EvaluationResult& result) {
  const std::int64_t step = state_.progress.step;
  const double loss = result.total.nll / static_cast<double>(result.total.tokens);
  const LeastLosses::Rise rise = least_losses_.add(evaluated.name, step, loss);
  log_.note(fmt::format(
      "step {}  {}: {} ({} tokens in {}){}", step, evaluated.name, format_score(result.total),
      format_count(static_cast<double>(result.total.tokens)), format_duration(result.seconds),
      rise.nats > 0 ? fmt::format(", loss {:.4f} above that of step {}", rise.nats, rise.since) : std::string()));
  if (!metrics_) return;
  nlohmann::ordered_json line = {{"kind", "evaluation"}, {"step", step}, {"split", evaluated.name}};
  nlohmann::ordered_json score = to_json(result.total);
  score.erase("name");
  line.update(score);
  line["loss"] = loss;
  line["forgetting"] = rise.nats;
  append_metrics(line);
}

bool Trainer::summaries_owed() {
  if (!summaries_due(state_.progress.step)) return false;
  std::int64_t owed = metrics_ && !holds_evaluation(directory_.metrics(), state_.progress.step, "summaries", "rouge");
  communicator_.all_reduce_max({&owed, 1});
  return owed != 0;
}

StopReason Trainer::evaluate_summaries() {
  guard_.enter(Phase::evaluating);
  step_.wait();
  model_.parameters().clear_gradients();  // their room is the evaluation's
  guard_.begin_batch();
  StopReason stop;
  std::int64_t tokens = 0;
  const auto goes_on = [&] {
    guard_.enter(Phase::evaluating);
    log_.progress(fmt::format("writing summaries: {}", ++tokens), /*lasting=*/false);
    return !guard_.stop_reason().stop();
  };
  const std::optional<SummaryMeasures> measures = summaries_->run(model_, goes_on, [&] {
    checkpoints_.poll();
    guard_.enter(Phase::evaluating);
    stop = agree_on(guard_.stop_reason(), communicator_);
    guard_.begin_batch();
    return !stop.stop();
  });
  const std::int64_t step = state_.progress.step;
  if (!measures) {
    log_.note(fmt::format("step {}  summaries: stopped; resuming writes those of this step again", step));
    return stop;
  }
  guard_.time_limit().evaluation_took(evaluation_seconds_ + measures->seconds);
  log_.note(fmt::format("step {}  summaries: {} (F1 over {}, {} tokens in {})", step, format_summaries(*measures),
                        format_plural(measures->pairs, "pair"), format_count(static_cast<double>(measures->tokens)),
                        format_duration(measures->seconds)));
  append_metrics(summaries_line(step, *measures));
  return {};
}

}  // namespace palimpsest
