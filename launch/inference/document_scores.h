// Perplexities and bits per byte, document by document.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokens/token_file.h"
#include "launch/inference/evaluation_accumulator.h"

namespace palimpsest {

/// The negative log-likelihood of a text, or of what of it is not masked, and what it is divided by.
struct Score {
  std::string name;
  std::int64_t tokens = 0;  // of the text, without begin and end token
  std::int64_t words = 0;   // between white space, in the original text
  std::int64_t bytes = 0;
  double nll = 0;          // nats, summed over the tokens
  std::string title = {};  // as in DocumentInfo
  std::int64_t year = 0;

  /// exp(nll / tokens).
  double token_perplexity() const;
  /// exp(nll / words), PG19's convention (Rae et al. 2020).
  double word_perplexity() const;
  /// nll / (bytes ln 2).
  double bits_per_byte() const;
  /// Adds another text, leaving the name.
  void add(const Score& other);
};

class DocumentScores final : public EvaluationAccumulator {
 public:
  /// Of the first `documents` documents of the file, which must outlive this.
  DocumentScores(const TokenFile& file, std::int64_t documents);

  void add(const EvaluatedRun& run) override;
  std::span<double> sums() override { return sums_; }

  std::int64_t documents() const { return static_cast<std::int64_t>(sums_.size()) / 2; }
  /// Those of which every token that is not masked has been seen, in the order of the file.
  std::vector<Score> complete() const;

 private:
  const TokenFile& file_;
  std::vector<double> sums_;  // of each document the negative log-likelihood, then the tokens seen
};

/// Tokens of a document's text: what is stored, but for the begin and the end token.
inline std::int64_t text_tokens(const TokenFile& file, std::int64_t document) {
  return file.document(document).tokens - 2;
}

}  // namespace palimpsest
