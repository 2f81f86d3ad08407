// Summaries that are written and measured while training (evaluation.summaries): each rank those of some documents.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "configs/options/evaluation_config.h"
#include "core/comm/communicator.h"
#include "data/text/json_records.h"
#include "data/text/tokenizer.h"
#include "launch/inference/generation_options.h"
#include "launch/measures/rouge.h"
#include "layers/language_model.h"

namespace palimpsest {

/// What became of a round of summaries.
struct SummaryMeasures {
  std::int64_t pairs = 0, tokens = 0;  // measured, written
  RougeScores means;                   // over the pairs
  double seconds = 0;
};

class SummaryEvaluation {
 public:
  /// Reads this rank's share of the pairs. Throws FileError and DataError on pairs that are none, naming file and line,
  /// and ConfigError on options that cannot be.
  SummaryEvaluation(const SummaryEvaluationConfig& config, std::unique_ptr<Tokenizer> tokenizer,
                    Communicator& communicator);

  /// Collective. Changes nothing of the model. The result does not depend on the number of ranks. `goes_on` is asked
  /// between tokens and may differ between ranks; `all_go_on`, whose answer is the same on all, after each document of
  /// every rank. Null where the latter says no. Throws NumericalError.
  std::optional<SummaryMeasures> run(const LanguageModel& model, const GoesOn& goes_on,
                                     const std::function<bool()>& all_go_on) const;

 private:
  Communicator& communicator_;
  std::unique_ptr<Tokenizer> tokenizer_;
  PairTemplate template_;
  GenerationOptions generation_;
  RougeScorer scorer_;
  std::int64_t all_ = 0;           // pairs of all ranks
  std::vector<SummaryPair> mine_;  // number rank, rank + ranks ... of them
};

}  // namespace palimpsest
