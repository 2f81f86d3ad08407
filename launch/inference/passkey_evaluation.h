// Passkey retrieval (arXiv 2404.07143, section 4.2): prompts of any length that hide a key in filler are read through
// the model, and its answers are compared with the key. Reading takes the same memory at any length.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "core/storage.h"
#include "data/stream/passkey_prompt.h"
#include "launch/inference/evaluation.h"
#include "launch/inference/shared_beginning.h"
#include "layers/language_model.h"

namespace palimpsest {

/// What came of one prompt: of its answer's tokens, those that were the likeliest when all before them were given,
/// which is what the model would have written if all were right.
struct PasskeySample {
  std::int64_t sample = 0;  // its number in the cell, from 0
  std::int64_t tokens = 0;  // of the answer
  std::int64_t right = 0;
  std::int64_t right_without_memory = 0;  // the same when nothing before the last segment has been read

  bool operator==(const PasskeySample&) const = default;
};

/// Prompts of one length with the key at one depth.
struct PasskeyCell {
  std::int64_t length = 0;  // tokens, the answer's included
  double depth = 0;         // 0: near the start, 1: near the question
  std::vector<PasskeySample> samples;
};

struct PasskeyOptions {
  std::int64_t samples = 20;    // of every cell
  std::int64_t batch_size = 8;  // prompts that a rank reads at once, at most
  std::uint64_t seed = 1;       // of the prompts
};

/// What the model writes after a prompt, each token the likeliest: as many as the answer has, in text. `progress` is
/// called now and then with the tokens read, and all of them; it returns whether to stop, and then the answer is empty.
std::string write_answer(const LanguageModel& model, const PasskeyLanguage& language, const PasskeyPrompt& prompt,
                         MemoryPool& pool, const std::function<bool(const EvaluationProgress&)>& progress = {});

class PasskeyEvaluation {
 public:
  /// Called on every rank now and then, when all others have come as far: it may speak with them. Tokens of all ranks,
  /// what prompts have in common counted once.
  /// Returns whether to stop there, the same on every rank.
  using BetweenChunks = std::function<bool(const EvaluationProgress&)>;
  /// Called on every rank when samples are complete, with all cells.
  using SamplesComplete = std::function<void(const std::vector<PasskeyCell>&)>;

  /// Everything must outlive this; `pool` is where passes take their memory. Throws DataError when the tokenizer has
  /// more tokens than the model.
  PasskeyEvaluation(const LanguageModel& model, std::shared_ptr<const PasskeyLanguage> language,
                    const PasskeyOptions& options, Communicator& communicator, MemoryPool& pool);

  /// Adds the samples that the cells lack, which are shared over ranks. What prompts have in common up to the first key
  /// is read once. What a sample is depends on seed, length and
  /// its number alone. Returns whether all are there. Throws ConfigError when a length cannot hold its prompt.
  /// Collective.
  bool run(std::vector<PasskeyCell>& cells, const BetweenChunks& between = {}, const SamplesComplete& complete = {});

 private:
  /// Samples of one cell that this rank reads at once, none to keep others company.
  struct Batch {
    std::size_t cell = 0;
    std::vector<std::int64_t> samples;
    std::int64_t fork = 0;  // so many tokens, whole segments, its prompts have in common with all others
  };

  PasskeyPrompt prompt(const PasskeyCell& cell, std::int64_t sample) const;
  /// The numbers of samples that a cell lacks.
  std::vector<std::int64_t> missing(const PasskeyCell& cell) const;
  /// What is left to read, as many batches on every rank.
  std::vector<Batch> plan(const std::vector<PasskeyCell>& cells) const;
  /// Reads and answers a batch. Returns whether it was not stopped.
  bool answer(const PasskeyCell& cell, const Batch& batch, SharedBeginning& beginning, const BetweenChunks& between,
              std::vector<PasskeySample>& answered);
  std::int64_t right_without_memory(const PasskeyPrompt& prompt) const;

  const LanguageModel& model_;
  std::shared_ptr<const PasskeyLanguage> language_;
  PasskeyOptions options_;
  Communicator& communicator_;
  MemoryPool& pool_;
  EvaluationProgress progress_;
};

}  // namespace palimpsest
