// Measures a model on whole documents: the memory is carried through each of them, every token of its
// text counts, the first one too (predicted from the begin token). Documents are shared over ranks, or groups
// of ranks that share each document's segments, and over lanes of a batch; the result depends on none of it
// beyond rounding.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "data/tokens/token_file.h"
#include "layers/language_model.h"

namespace palimpsest {

/// The negative log-likelihood of a text and what it is divided by.
struct Score {
  std::string name;
  std::int64_t tokens = 0;  // of the text, without begin and end token
  std::int64_t words = 0;   // between white space, in the original text
  std::int64_t bytes = 0;
  double nll = 0;  // nats, summed over the tokens

  /// exp(nll / tokens).
  double token_perplexity() const;
  /// exp(nll / words), PG19's convention (Rae et al. 2020).
  double word_perplexity() const;
  /// nll / (bytes ln 2).
  double bits_per_byte() const;
  /// Adds another text, leaving the name.
  void add(const Score& other);
};

struct EvaluationResult {
  std::vector<Score> documents;  // in the order of the token file
  Score total;
  double seconds = 0;
};

struct EvaluationOptions {
  std::int64_t batch_size = 8;      // documents a rank reads at once
  std::int64_t tokens_at_once = 0;  // per lane, rounded down to whole segments; at least one segment
  std::int64_t max_documents = 0;   // the first so many of the file; 0: all
  /// The ranks that read each document together, neighbours in groups of equal size; null: each rank reads its own.
  Communicator* sequence_ranks = nullptr;
};

/// Called now and then with the tokens this rank has read and has to read in all.
using EvaluationProgress = std::function<void(std::int64_t done, std::int64_t all)>;

/// The same result on every rank. Throws DataError when the file's vocabulary exceeds the model's,
/// NumericalError, naming the document, when a loss is not finite.
EvaluationResult evaluate(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
                          const EvaluationOptions& options, const EvaluationProgress& progress = {});

/// For each rank its documents, longest first: each document goes to the rank with the fewest
/// tokens so far. `tokens` are the documents' lengths; those of length 0 are left out.
std::vector<std::vector<std::int64_t>> share_documents(const std::vector<std::int64_t>& tokens, int ranks);

}  // namespace palimpsest
