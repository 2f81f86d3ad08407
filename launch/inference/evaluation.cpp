#include "launch/inference/evaluation.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "core/sequence_share.h"
#include "launch/inference/memory_resets.h"
#include "layers/training_pass.h"

namespace palimpsest {

namespace {

constexpr std::int64_t first_in_document = 512;  // tokens of the first bucket
constexpr std::int64_t first_in_segment = 16;

int ranks_together(const EvaluationOptions& options) {
  return options.sequence_ranks != nullptr ? options.sequence_ranks->size() : 1;
}

std::int64_t document_count(const TokenFile& file, const EvaluationOptions& options) {
  return options.max_documents > 0 ? std::min(options.max_documents, file.document_count()) : file.document_count();
}

std::vector<std::int64_t> lengths_of(const TokenFile& file, std::int64_t documents) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < documents; ++i) lengths.push_back(text_tokens(file, i));
  return lengths;
}

std::int64_t longest_of(const TokenFile& file, std::int64_t documents) {
  const std::vector<std::int64_t> lengths = lengths_of(file, documents);
  return lengths.empty() ? 0 : std::ranges::max(lengths);
}

std::vector<std::int64_t> documents_of_rank(const TokenFile& file, Communicator& communicator,
                                            const EvaluationOptions& options) {
  const int together = ranks_together(options);
  const auto group = static_cast<std::size_t>(communicator.rank() / together);
  return share_documents(lengths_of(file, document_count(file, options)), communicator.size() / together)[group];
}

/// Of each lane, by all ranks that share it: as asked, but whole segments, one for each of these ranks at least.
std::int64_t most_tokens(const ModelConfig& config, const EvaluationOptions& options) {
  const std::int64_t segments = options.tokens_at_once / config.segment_length;
  return std::max<std::int64_t>(segments, ranks_together(options)) * config.segment_length;
}

/// Of ranks that share documents the smallest, whatever memory and cores their hosts have.
ForwardPlan plan_pass(const LanguageModel& model, const TokenFile& file, const EvaluationOptions& options,
                      const std::vector<std::int64_t>& documents) {
  const ModelConfig& config = model.config();
  const std::int64_t longest = documents.empty() ? 0 : text_tokens(file, documents.front());
  ForwardPlan plan =
      plan_forward(config, std::min(options.batch_size, static_cast<std::int64_t>(documents.size())),
                   longest_share(most_tokens(config, options), config.segment_length, ranks_together(options)), longest,
                   model.compute_type(), options.memory_budget);
  if (options.sequence_ranks != nullptr) {
    std::array<std::int64_t, 2> sizes = {-plan.lanes, -plan.tokens};
    options.sequence_ranks->all_reduce_max(sizes);
    plan.lanes = -sizes[0];
    plan.tokens = -sizes[1];
    plan.bytes = forward_bytes(config, plan.lanes, plan.tokens, longest, model.compute_type());
  }
  return plan;
}

}  // namespace

Evaluation::Evaluation(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                       const EvaluationOptions& options, MemoryPool& pool)
    : Evaluation(model, file, communicator, options, pool, documents_of_rank(file, communicator, options)) {}

Evaluation::Evaluation(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                       const EvaluationOptions& options, MemoryPool& pool, std::vector<std::int64_t> documents)
    : model_(model),
      file_(file),
      communicator_(communicator),
      sequence_ranks_(options.sequence_ranks),
      pool_(pool),
      documents_(file, document_count(file, options)),
      positions_(PositionLosses::Position::in_document, first_in_document, longest_of(file, documents_.documents())),
      positions_in_segment_(PositionLosses::Position::in_segment, first_in_segment, model.config().segment_length),
      accumulators_{&documents_, &positions_, &positions_in_segment_},
      plan_(plan_pass(model, file, options, documents)),
      memory_segments_(options.memory_segments),
      tokens_at_once_(std::min(most_tokens(model.config(), options), plan_.tokens * ranks_together(options))),
      cursor_(file, std::move(documents), plan_.lanes) {
  if (file.vocab_size() > model.config().vocab_size) {
    throw DataError(fmt::format("{}: has a vocabulary of {} tokens, the model one of {}", file.path().string(),
                                file.vocab_size(), model.config().vocab_size));
  }
}

EvaluationResult Evaluation::run(const BetweenBatches& between) {
  const auto start = std::chrono::steady_clock::now();
  if (!cursor_.finished()) {
    state_ = model_.empty_state(pool_, static_cast<std::int64_t>(cursor_.lanes().size()));
  }
  for (;;) {
    std::int64_t unfinished = cursor_.finished() ? 0 : 1;
    communicator_.all_reduce_max(std::span(&unfinished, 1));
    const bool stop = between && between({cursor_.done(), cursor_.all()});
    if (stop || unfinished == 0) break;
    if (!cursor_.finished()) read_on();
  }
  state_ = {};
  for (EvaluationAccumulator* accumulator : accumulators_) communicator_.all_reduce_sum(accumulator->sums());

  EvaluationResult result;
  result.documents = documents_.complete();
  for (const Score& document : result.documents) result.total.add(document);
  result.unfinished = documents_.documents() - static_cast<std::int64_t>(result.documents.size());
  result.by_position = positions_.scores();
  result.by_position_in_segment = positions_in_segment_.scores();
  result.memory_segments = memory_segments_;
  result.seconds = seconds_since(start);
  return result;
}

std::vector<double> Evaluation::losses(const TokenBatch& batch) {
  std::vector<double> losses = token_losses(model_, pool_, batch, state_, sequence_ranks_);
  if (sequence_ranks_ != nullptr) sequence_ranks_->all_reduce_sum(losses);
  return losses;
}

TokenBatch Evaluation::next_batch() const {
  TokenBatch batch = cursor_.batch(tokens_at_once_);
  if (memory_segments_ == 0) return batch;
  std::vector<std::int64_t> before;
  for (const EvaluationCursor::Lane& lane : cursor_.lanes()) before.push_back(lane.done);
  const std::int64_t period = memory_segments_ * model_.config().segment_length;
  reset_memory(batch, before, period, longest_of(file_, documents_.documents()) / period + 1);
  return batch;
}

void Evaluation::read_on() {
  const TokenBatch batch = next_batch();
  const std::vector<double> all = losses(batch);
  for (std::size_t i = 0; i < cursor_.lanes().size(); ++i) {
    const EvaluationCursor::Lane& lane = cursor_.lanes()[i];
    const auto count = static_cast<std::size_t>(std::min(batch.tokens, lane.remaining()));
    tell({lane.document, lane.done, model_.config().segment_length,
          std::span(all).subspan(i * static_cast<std::size_t>(batch.tokens), count)});
  }
  const std::vector<std::int64_t> kept = cursor_.advance(batch.tokens);
  if (!kept.empty() && static_cast<std::int64_t>(kept.size()) < batch.lanes) {
    state_ = select_lanes(pool_, state_, kept);
  }
}

void Evaluation::tell(const EvaluatedRun& run) {
  if (!std::isfinite(std::accumulate(run.losses.begin(), run.losses.end(), 0.0))) {
    throw NumericalError(fmt::format("{}: the loss of document {} ({}) is not finite within tokens {} to {}",
                                     file_.path().string(), run.document, file_.document(run.document).name,
                                     run.position, run.position + run.tokens()));
  }
  // Of the ranks that have read these tokens together, one counts them.
  if (sequence_ranks_ != nullptr && !sequence_ranks_->is_root()) return;
  for (EvaluationAccumulator* accumulator : accumulators_) accumulator->add(run);
}

}  // namespace palimpsest
