// The trainer's evaluations of the validation split: when, within what memory, and what becomes of the result.
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

}  // namespace

bool Trainer::evaluation_due(std::int64_t step) const {
  if (!validation_file_ || step == 0) return false;
  return step == config_.train.steps || (config_.evaluation.every > 0 && step % config_.evaluation.every == 0);
}

bool Trainer::evaluation_owed() {
  if (!evaluation_due(state_.progress.step)) return false;
  std::int64_t owed = metrics_ && !holds_evaluation(directory_.metrics(), state_.progress.step) ? 1 : 0;
  communicator_.all_reduce_max(std::span(&owed, 1));
  return owed != 0;
}

std::int64_t Trainer::evaluation_budget() {
  model_.parameters().clear_gradients();  // their room is the evaluation's
  const MemoryPool::Statistics pool = step_pool_.statistics();
  const auto in_use = static_cast<std::int64_t>(pool.bytes_in_use - pool.scratch_bytes);  // passes share the scratch
  return pass_budget(config_, model_.compute_type(), threads_.ranks_on_host, Purpose::training) - in_use;
}

StopReason Trainer::evaluate_validation() {
  guard_.enter(Phase::evaluating);
  step_.wait();
  const EvaluationOptions options = {.batch_size = config_.evaluation.batch_size,
                                     .tokens_at_once = config_.train.sequence_length,
                                     .max_documents = config_.evaluation.max_documents,
                                     .memory_budget = evaluation_budget(),
                                     .sequence_ranks = sequence_ranks_.get()};
  Evaluation evaluation(model_, *validation_file_, communicator_, options, step_pool_);
  StopReason stop;
  guard_.begin_batch();
  const EvaluationResult result = evaluation.run([&](const EvaluationProgress& progress) {
    checkpoints_.poll();
    guard_.enter(Phase::evaluating);
    stop = agree_on(guard_.stop_reason(), communicator_);
    guard_.begin_batch();
    if (progress.all > 0) {
      log_.progress(fmt::format("evaluating the validation split: {:.0f} %",
                                100.0 * static_cast<double>(progress.done) / static_cast<double>(progress.all)),
                    /*lasting=*/false);
    }
    return stop.stop();
  });
  if (!result.complete()) {
    log_.note(fmt::format("step {}  validation: stopped with {} unread; resuming evaluates this step again",
                          state_.progress.step, format_plural(result.unfinished, "document")));
    return stop;
  }
  guard_.time_limit().evaluation_took(result.seconds);
  log_evaluation(result);
  return {};
}

void Trainer::log_evaluation(const EvaluationResult& result) {
  const std::int64_t step = state_.progress.step;
  log_.note(fmt::format("step {}  validation: {} ({} tokens in {})", step, format_score(result.total),
                        format_count(static_cast<double>(result.total.tokens)), format_duration(result.seconds)));
  if (!metrics_) return;
  nlohmann::ordered_json line = {{"kind", "evaluation"}, {"step", step}, {"split", "validation"}};
  nlohmann::ordered_json score = to_json(result.total);
  score.erase("name");
  line.update(score);
  metrics_->append(line);
}

}  // namespace palimpsest
