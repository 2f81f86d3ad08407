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
#include "launch/inference/sliding_windows.h"
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

/// The largest number of compressions that a token can have behind it, plus one.
std::int64_t compression_counts(const ModelConfig& config, std::int64_t longest, std::int64_t memory_segments) {
  const std::int64_t segments = (longest + config.segment_length - 1) / config.segment_length;
  return memory_segments > 0 ? std::min(segments, memory_segments) : segments;
}

void check_options(const LanguageModel& model, const EvaluationOptions& options) {
  if (options.window == 0) return;
  check_windows(model.config(), options.window, options.stride);
  if (options.memory_segments > 0) {
    throw ConfigError("--window: every window begins with empty memory; leave --memory out");
  }
  if (options.sequence_ranks != nullptr) {
    throw ConfigError("--window: windows are shared over ranks, each is read by one; leave --sequence-ranks out");
  }
}

std::vector<Stretch> stretches_of_rank(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                                       const EvaluationOptions& options) {
  check_options(model, options);
  const std::vector<std::int64_t> lengths = lengths_of(file, document_count(file, options));
  if (options.window > 0) {
    return windows_of_rank(lengths, options.window, options.stride, communicator.rank(), communicator.size());
  }
  const int together = ranks_together(options);
  const auto group = static_cast<std::size_t>(communicator.rank() / together);
  const auto shares = share_documents(lengths, communicator.size() / together);
  std::vector<Stretch> stretches;
  for (const std::int64_t document : shares[group]) {
    stretches.push_back({document, 0, lengths[static_cast<std::size_t>(document)], 0});
  }
  return stretches;
}

/// Of each lane, by all ranks that share it: as asked, but whole segments, one for each of these ranks at least, and of
/// windows no more than one.
std::int64_t most_tokens(const ModelConfig& config, const EvaluationOptions& options) {
  std::int64_t segments = options.tokens_at_once / config.segment_length;
  if (options.window > 0) {
    segments = std::min(segments, (options.window + config.segment_length - 1) / config.segment_length);
  }
  return std::max<std::int64_t>(segments, ranks_together(options)) * config.segment_length;
}

/// Windows are short: as many at once as make up the tokens of `batch_size` documents.
std::int64_t most_lanes(const ModelConfig& config, const EvaluationOptions& options) {
  if (options.window == 0) return options.batch_size;
  const std::int64_t tokens = std::min(options.window, most_tokens(config, options));
  return std::max(options.batch_size * options.tokens_at_once / tokens, options.batch_size);
}

/// Of ranks that share documents the smallest, whatever memory and cores their hosts have.
ForwardPlan plan_pass(const LanguageModel& model, const EvaluationOptions& options,
                      const std::vector<Stretch>& stretches) {
  const ModelConfig& config = model.config();
  std::int64_t longest = 0;
  for (const Stretch& stretch : stretches) longest = std::max(longest, stretch.tokens());
  ForwardPlan plan =
      plan_forward(config, std::min(most_lanes(config, options), static_cast<std::int64_t>(stretches.size())),
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
    : Evaluation(model, file, communicator, options, pool, stretches_of_rank(model, file, communicator, options)) {}

Evaluation::Evaluation(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                       const EvaluationOptions& options, MemoryPool& pool, std::vector<Stretch> stretches)
    : model_(model),
      file_(file),
      communicator_(communicator),
      sequence_ranks_(options.sequence_ranks),
      pool_(pool),
      documents_(file, document_count(file, options)),
      positions_(PositionLosses::Position::in_document, first_in_document, longest_of(file, documents_.documents())),
      positions_in_segment_(PositionLosses::Position::in_segment, first_in_segment, model.config().segment_length),
      compressions_(
          PositionLosses::Position::in_compressions, 1,
          compression_counts(model.config(), longest_of(file, documents_.documents()), options.memory_segments)),
      accumulators_{&documents_, &positions_},
      plan_(plan_pass(model, options, stretches)),
      memory_segments_(options.memory_segments),
      window_(options.window),
      stride_(options.stride),
      tokens_at_once_(std::min(most_tokens(model.config(), options), plan_.tokens * ranks_together(options))),
      cursor_(file, std::move(stretches), plan_.lanes) {
  if (window_ == 0) {  // else a token's segment depends on its window
    add(positions_in_segment_);
    add(compressions_);
  }
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
  result.by_compressions = compressions_.scores();
  result.memory_segments = memory_segments_;
  result.window = window_;
  result.stride = stride_;
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
  for (const EvaluationCursor::Lane& lane : cursor_.lanes()) before.push_back(lane.position);
  const std::int64_t period = memory_segments_ * model_.config().segment_length;
  reset_memory(batch, before, period, longest_of(file_, documents_.documents()) / period + 1);
  return batch;
}

void Evaluation::read_on() {
  const TokenBatch batch = next_batch();
  const std::vector<double> all = losses(batch);
  for (std::size_t i = 0; i < cursor_.lanes().size(); ++i) {
    const EvaluationCursor::Lane& lane = cursor_.lanes()[i];
    const std::int64_t count = std::min(batch.tokens, lane.remaining());
    const std::int64_t uncounted = std::clamp<std::int64_t>(lane.stretch.counted - lane.position, 0, count);
    const auto row = static_cast<std::int64_t>(i) * batch.tokens;
    tell({lane.stretch.document, lane.position + uncounted, model_.config().segment_length, memory_segments_,
          std::span(all).subspan(static_cast<std::size_t>(row + uncounted),
                                 static_cast<std::size_t>(count - uncounted))});
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
  const std::int64_t first = file_.document(run.document).begin + 1 + run.position;
  std::int64_t told = 0;
  const auto tell_until = [&](std::int64_t end) {
    if (end <= told) return;
    EvaluatedRun part = run;
    part.position += told;
    part.losses = run.losses.subspan(static_cast<std::size_t>(told), static_cast<std::size_t>(end - told));
    for (EvaluationAccumulator* accumulator : accumulators_) accumulator->add(part);
  };
  for (const TokenSpan& masked : file_.masked(first, first + run.tokens())) {
    tell_until(masked.begin - first);
    told = masked.end - first;
  }
  tell_until(run.tokens());
}

}  // namespace palimpsest
