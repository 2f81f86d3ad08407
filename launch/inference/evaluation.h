// Measures a model on whole documents: the memory is carried through each of them unless told otherwise, every token of
// its text counts unless it is masked, the first one too (predicted from the begin token). Documents are shared over
// ranks, or groups of ranks that share each document's segments, and over lanes of a batch; the result depends on none
// of it beyond rounding. `eval` and `train` take the same component, and so do experiments, which add accumulators.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/comm/communicator.h"
#include "core/storage.h"
#include "data/tokens/token_file.h"
#include "launch/inference/document_scores.h"
#include "launch/inference/evaluation_accumulator.h"
#include "launch/inference/evaluation_cursor.h"
#include "launch/inference/position_losses.h"
#include "layers/language_model.h"
#include "layers/pass_plan.h"

namespace palimpsest {

struct EvaluationOptions {
  std::int64_t batch_size = 8;      // documents a rank reads at once, at most; of windows as many as have their tokens
  std::int64_t tokens_at_once = 0;  // per lane, at most, rounded down to whole segments; at least one segment
  std::int64_t max_documents = 0;   // the first so many of the file; 0: all
  /// The memory begins empty again after so many segments of a document: 1 knocks it out. 0: kept from first to last.
  std::int64_t memory_segments = 0;
  /// Bytes that a rank's pass may take, as layers/pass_plan.h estimates them: fewer tokens at once, then fewer
  /// lanes, make it fit. Ranks that share documents keep to the smallest of their plans.
  std::int64_t memory_budget = std::numeric_limits<std::int64_t>::max();
  /// Each document in windows of so many tokens that begin `stride` tokens apart (launch/inference/sliding_windows.h).
  /// 0: from its first token to its last.
  std::int64_t window = 0;
  std::int64_t stride = 0;
  /// The ranks that read each document together, neighbours in groups of equal size; null: each rank reads its own.
  Communicator* sequence_ranks = nullptr;
};

struct EvaluationResult {
  std::vector<Score> documents;  // those that are complete, in the order of the token file
  Score total;                   // of these
  std::int64_t unfinished = 0;   // documents that are not, of an evaluation that was stopped
  // Of every token read, those of unfinished documents too.
  std::vector<PositionScore> by_position;             // in the document
  std::vector<PositionScore> by_position_in_segment;  // of the model's segment_length; none with windows
  std::vector<PositionScore> by_compressions;         // behind the token; none with windows
  std::int64_t memory_segments = 0;                   // as in the options
  std::int64_t window = 0, stride = 0;
  double seconds = 0;

  bool complete() const { return unfinished == 0; }
};

/// Tokens that this rank has read and has to read in all.
struct EvaluationProgress {
  std::int64_t done = 0;
  std::int64_t all = 0;
};

class Evaluation {
 public:
  /// Called on every rank before each batch, and after the last one, when all others have come as far: it may speak
  /// with them. Returns whether to stop there, the same on every rank.
  using BetweenBatches = std::function<bool(const EvaluationProgress&)>;

  /// `pool` is where passes take their memory. All that is passed by reference must outlive this. Throws DataError when
  /// the file's vocabulary exceeds the model's, ConfigError when the model cannot be evaluated in windows, or not
  /// together with the other options. Collective, like everything here.
  Evaluation(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
             const EvaluationOptions& options, MemoryPool& pool);

  /// Has an accumulator, which must outlive this, told of every run beside those that make up the result.
  void add(EvaluationAccumulator& accumulator) { accumulators_.push_back(&accumulator); }

  /// A pass of this rank: its lanes, and their tokens that it computes itself.
  const ForwardPlan& plan() const { return plan_; }

  /// Once. The same result on every rank. Throws NumericalError, naming the document, when a loss is not finite.
  EvaluationResult run(const BetweenBatches& between = {});

 private:
  /// `stretches`: those that this rank reads, alone or with others.
  Evaluation(const LanguageModel& model, const TokenFile& file, Communicator& communicator,
             const EvaluationOptions& options, MemoryPool& pool, std::vector<Stretch> stretches);

  /// The negative log-likelihood of every target, (lanes, tokens), on every rank that reads them.
  std::vector<double> losses(const TokenBatch& batch);
  /// The next tokens of every lane, labelled as the memory is to be kept.
  TokenBatch next_batch() const;
  void read_on();
  /// The accumulators of what of a run is not masked.
  void tell(const EvaluatedRun& run);

  const LanguageModel& model_;
  const TokenFile& file_;
  Communicator& communicator_;
  Communicator* sequence_ranks_;
  MemoryPool& pool_;
  DocumentScores documents_;
  PositionLosses positions_, positions_in_segment_, compressions_;
  std::vector<EvaluationAccumulator*> accumulators_;
  ForwardPlan plan_;
  std::int64_t memory_segments_, window_, stride_;
  std::int64_t tokens_at_once_;  // of each lane, of all ranks that share it together
  EvaluationCursor cursor_;
  SequenceState state_;
};

}  // namespace palimpsest
