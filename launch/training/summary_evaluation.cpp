#include "launch/training/summary_evaluation.h"

#include <chrono>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "data/text/document_list.h"
#include "launch/inference/summarizer.h"

namespace palimpsest {

namespace {

constexpr std::size_t numbers = 3 * rouge_names.size();  // of a text

}  // namespace

SummaryEvaluation::SummaryEvaluation(const SummaryEvaluationConfig& config, std::unique_ptr<Tokenizer> tokenizer,
                                     Communicator& communicator)
    : communicator_(communicator),
      tokenizer_(std::move(tokenizer)),
      template_(parse_pair_template(unescaped(config.pair_template))),
      generation_{.sampling = {.temperature = 0, .no_repeat_ngram = config.no_repeat_ngram},
                  .max_tokens = config.max_tokens,
                  .beams = config.beams},
      scorer_(config.stem) {
  check(generation_);
  DocumentList list({config.pairs});
  while (config.max_pairs == 0 || all_ < config.max_pairs) {
    const std::optional<ListedDocument> pair = list.next();
    if (!pair) break;
    if (all_++ % communicator.size() != communicator.rank()) continue;
    mine_.push_back(read_document(*pair, SummaryField::required));
    // What cannot be encoded is known before the first step.
    static_cast<void>(tokenizer_->encode(text_to_read(template_, mine_.back().document, /*with_prompt=*/true)));
  }
  if (all_ == 0) throw DataError(fmt::format("{}: has no pair of document and summary", config.pairs));
}

std::optional<SummaryMeasures> SummaryEvaluation::run(const LanguageModel& model, const GoesOn& goes_on,
                                                      const std::function<bool()>& all_go_on) const {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t ranks = communicator_.size();
  std::vector<double> found(static_cast<std::size_t>(all_) * numbers);
  SummaryMeasures measures{.pairs = all_, .tokens = 0, .means = {}, .seconds = 0};
  for (std::int64_t first = 0; first < all_; first += ranks) {
    const std::int64_t mine = first + communicator_.rank();
    if (mine < all_) {
      const SummaryPair& pair = mine_[static_cast<std::size_t>(first / ranks)];
      MemoryPool pool;
      Generator reader(model, *tokenizer_, pool);
      reader.append(text_to_read(template_, pair.document, /*with_prompt=*/true));
      const Summary summary = write_summary(reader, template_, generation_, /*prompts=*/false, goes_on);
      measures.tokens += summary.result.tokens;
      const RougeScores scores = scorer_.score(pair.summary, summary.text);
      auto at = found.begin() + mine * static_cast<std::int64_t>(numbers);
      for (const RougeScore& score : scores) {
        for (const double value : {score.recall, score.precision, score.f1}) *at++ = value;
      }
    }
    if (!all_go_on()) return std::nullopt;
  }
  communicator_.all_reduce_sum(std::span(found));  // of each number one rank has it, the others zero
  communicator_.all_reduce_sum(std::span(&measures.tokens, 1));
  for (std::size_t i = 0; i < found.size(); ++i) {
    RougeScore& mean = measures.means.at(i % numbers / 3);
    (i % 3 == 0 ? mean.recall : i % 3 == 1 ? mean.precision : mean.f1) += found[i] / static_cast<double>(all_);
  }
  measures.seconds = seconds_since(start);
  return measures;
}

}  // namespace palimpsest
