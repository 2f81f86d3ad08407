#include "launch/inference/evaluator.h"
#include "layers/training_pass.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// A lane of the batch and how far it has come in its document.
struct Lane {
  std::size_t place;      // of the document in this rank's list
  std::int64_t document;  // index in the token file
  std::int64_t tokens;    // to be predicted in all
  std::int64_t done = 0;  // predicted so far
  std::int64_t remaining() const { return tokens - done; }
};

/// A document's negative log-likelihood, or a rank's part of it, as ranks send it to each other.
struct DocumentNll {
  std::int64_t document;
  double nll;
};

/// Tokens of the text: what is stored, but for the begin and the end token.
std::int64_t text_tokens(const TokenFile& file, std::int64_t document) { return file.document(document).tokens - 2; }

class RankEvaluation {
 public:
  RankEvaluation(const LanguageModel& model, const TokenFile& file, std::vector<std::int64_t> documents,
                 const EvaluationOptions& options)
      : model_(model),
        file_(file),
        sequence_ranks_(options.sequence_ranks),
        documents_(std::move(documents)),
        nll_(documents_.size(), 0.0) {
    const std::int64_t segment = model.config().segment_length;
    // A segment for every rank at least.
    const std::int64_t fewest = sequence_ranks_ != nullptr ? sequence_ranks_->size() : 1;
    tokens_at_once_ = std::max(options.tokens_at_once / segment, fewest) * segment;
    const auto lanes = std::min(static_cast<std::size_t>(options.batch_size), documents_.size());
    while (next_ < lanes) lanes_.push_back(next_lane());
  }

  std::vector<DocumentNll> run(const EvaluationProgress& progress) {
    std::int64_t all = 0, done = 0;
    for (const std::int64_t document : documents_) all += text_tokens(file_, document);
    SequenceState memory;
    if (!lanes_.empty()) memory = model_.empty_state(pool_, static_cast<std::int64_t>(lanes_.size()));
    while (!lanes_.empty()) {
      done += advance(memory);
      if (progress) progress(done, all);
      replace_finished_lanes(memory);
    }
    std::vector<DocumentNll> result;
    for (std::size_t i = 0; i < documents_.size(); ++i) result.push_back({documents_[i], nll_[i]});
    return result;
  }

 private:
  Lane next_lane() {
    const std::int64_t document = documents_[next_];
    return {next_++, document, text_tokens(file_, document)};
  }

  /// Reads on in every lane. Returns the number of tokens predicted.
  std::int64_t advance(SequenceState& memory) {
    const TokenBatch batch = next_batch();
    const std::vector<double> losses = palimpsest::token_losses(model_, pool_, batch, memory, sequence_ranks_);
    std::int64_t predicted = 0;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[i];
      const std::int64_t count = std::min(batch.tokens, lane.remaining());
      const auto begin = losses.begin() + static_cast<std::int64_t>(i) * batch.tokens;
      nll_[lane.place] = std::accumulate(begin, begin + count, nll_[lane.place]);
      if (!std::isfinite(nll_[lane.place])) {
        throw NumericalError(fmt::format("{}: the loss of document {} ({}) is not finite within tokens {} to {}",
                                         file_.path().string(), lane.document, file_.document(lane.document).name,
                                         lane.done, lane.done + count));
      }
      lane.done += count;
      predicted += count;
    }
    return predicted;
  }

  /// The next tokens of every lane. A document that ends before the batch does is followed by tokens
  /// without weight: nothing comes after them that they could change.
  TokenBatch next_batch() const {
    std::int64_t longest = 0;
    for (const Lane& lane : lanes_) longest = std::max(longest, lane.remaining());
    TokenBatch batch;
    batch.lanes = static_cast<std::int64_t>(lanes_.size());
    batch.tokens = std::min(longest, tokens_at_once_);
    for (const Lane& lane : lanes_) {
      const std::int64_t count = std::min(batch.tokens, lane.remaining());
      const std::vector<std::int32_t> tokens = file_.document_tokens(lane.document, lane.done, count + 1);
      batch.inputs.insert(batch.inputs.end(), tokens.begin(), tokens.end() - 1);
      batch.targets.insert(batch.targets.end(), tokens.begin() + 1, tokens.end());
      batch.loss_weights.insert(batch.loss_weights.end(), static_cast<std::size_t>(count), 1.0f);
      const auto rows = batch.documents.size() + static_cast<std::size_t>(batch.tokens);
      batch.documents.resize(rows, static_cast<std::int64_t>(lane.place));
      batch.inputs.resize(rows, file_.end_id());
      batch.targets.resize(rows, 0);
      batch.loss_weights.resize(rows, 0.0f);
    }
    return batch;
  }

  /// Gives finished lanes the next documents, which start with empty memory because their index is a new
  /// one; lanes without a next document are left out from then on.
  void replace_finished_lanes(SequenceState& memory) {
    std::vector<Lane> lanes;
    std::vector<std::int64_t> kept;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if (lanes_[i].remaining() == 0) {
        if (next_ == documents_.size()) continue;
        lanes_[i] = next_lane();
      }
      lanes.push_back(lanes_[i]);
      kept.push_back(static_cast<std::int64_t>(i));
    }
    if (kept.size() < lanes_.size() && !kept.empty()) memory = select_lanes(pool_, memory, kept);
    lanes_ = std::move(lanes);
  }

  const LanguageModel& model_;
  const TokenFile& file_;
  Communicator* sequence_ranks_;
  MemoryPool pool_;
  std::vector<std::int64_t> documents_;
  std::vector<double> nll_;  // per document of this rank: of the tokens it has read
  std::int64_t tokens_at_once_;
  std::size_t next_ = 0;  // the first document that no lane has had
  std::vector<Lane> lanes_;
};

}  // namespace

double Score::token_perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }
double Score::word_perplexity() const { return std::exp(nll / static_cast<double>(words)); }
double Score::bits_per_byte() const { return nll / (static_cast<double>(bytes) * std::log(2.0)); }

void Score::add(const Score& other) {
  tokens += other.tokens;
  words += other.words;
  bytes += other.bytes;
  nll += other.nll;
}

std::vector<std::vector<std::int64_t>> share_documents(const std::vector<std::int64_t>& tokens, int ranks) {
  std::vector<std::int64_t> longest_first(tokens.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::ranges::stable_sort(longest_first, [&](std::int64_t a, std::int64_t b) {
    return tokens[static_cast<std::size_t>(a)] > tokens[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<std::int64_t>> shares(static_cast<std::size_t>(ranks));
  std::vector<std::int64_t> loads(static_cast<std::size_t>(ranks), 0);
  for (const std::int64_t document : longest_first) {
    if (tokens[static_cast<std::size_t>(document)] == 0) continue;
    const auto rank = static_cast<std::size_t>(std::ranges::min_element(loads) - loads.begin());
    shares[rank].push_back(document);
    loads[rank] += tokens[static_cast<std::size_t>(document)];
  }
  return shares;
}

EvaluationResult evaluate(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                          const EvaluationOptions& options, const EvaluationProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  if (file.vocab_size() > model.config().vocab_size) {
    throw DataError(fmt::format("{}: has a vocabulary of {} tokens, the model one of {}", file.path().string(),
                                file.vocab_size(), model.config().vocab_size));
  }
  const std::int64_t count =
      options.max_documents > 0 ? std::min(options.max_documents, file.document_count()) : file.document_count();
  EvaluationResult result;
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    const DocumentInfo document = file.document(i);
    tokens.push_back(document.tokens - 2);
    result.documents.push_back({std::string(document.name), tokens.back(), document.words, document.bytes, 0.0});
  }
  const int together = options.sequence_ranks != nullptr ? options.sequence_ranks->size() : 1;
  const auto group = static_cast<std::size_t>(communicator.rank() / together);
  RankEvaluation evaluation(model, file, share_documents(tokens, communicator.size() / together)[group], options);
  const std::vector<DocumentNll> mine = evaluation.run(progress);

  for (const std::vector<std::byte>& bytes : communicator.all_gather(std::as_bytes(std::span(mine)))) {
    std::vector<DocumentNll> theirs(bytes.size() / sizeof(DocumentNll));
    if (!theirs.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
    for (const auto& [document, nll] : theirs) result.documents[static_cast<std::size_t>(document)].nll += nll;
  }
  for (const Score& document : result.documents) result.total.add(document);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace palimpsest
