#include "launch/inference/document_scores.h"

#include <cmath>
#include <numeric>

namespace palimpsest {

double Score::token_perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }
double Score::word_perplexity() const { return std::exp(nll / static_cast<double>(words)); }
double Score::bits_per_byte() const { return nll / (static_cast<double>(bytes) * std::log(2.0)); }

void Score::add(const Score& other) {
  tokens += other.tokens;
  words += other.words;
  bytes += other.bytes;
  nll += other.nll;
}

DocumentScores::DocumentScores(const TokenFile& file, std::int64_t documents)
    : file_(file), sums_(static_cast<std::size_t>(2 * documents), 0.0) {}

void DocumentScores::add(const EvaluatedRun& run) {
  const auto at = static_cast<std::size_t>(2 * run.document);
  sums_[at] = std::accumulate(run.losses.begin(), run.losses.end(), sums_[at]);
  sums_[at + 1] += static_cast<double>(run.tokens());
}

std::vector<Score> DocumentScores::complete() const {
  std::vector<Score> scores;
  for (std::int64_t i = 0; i < documents(); ++i) {
    const auto at = static_cast<std::size_t>(2 * i);
    const DocumentTargets targets = file_.targets(i);
    if (std::llround(sums_[at + 1]) != targets.tokens) continue;
    const DocumentInfo document = file_.document(i);
    scores.push_back({std::string(document.name), targets.tokens, targets.words, targets.bytes, sums_[at],
                      std::string(document.title), document.year});
  }
  return scores;
}

}  // namespace palimpsest
