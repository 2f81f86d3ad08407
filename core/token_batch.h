// What the data pipeline hands to the model: one training sequence for each of some lanes.
#pragma once

#include <cstdint>
#include <vector>

namespace palimpsest {

/// All arrays are (lanes, tokens), row-major; those that may be empty say so.
struct TokenBatch {
  std::int64_t lanes = 0;
  std::int64_t tokens = 0;
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
  /// The document of each input token: an index that never decreases within a lane, from batch to
  /// batch too, and that changes wherever the memory has to start empty.
  std::vector<std::int64_t> documents;
  /// 1 where the target is to be predicted; 0 where it is masked or belongs to another document.
  std::vector<float> loss_weights;
  /// How much each input token writes to the memory (core/kernels/memory.h): as much as so many repetitions of it, 0
  /// nothing. Empty: all write once.
  std::vector<float> write_weights = {};
  /// 1 where whether the target is the likeliest token shall be counted. Empty: nowhere.
  std::vector<std::uint8_t> answers = {};
  /// Which source of a mixture each token is of: the losses of each are added up apart. Empty: not.
  std::vector<std::uint8_t> sources = {};
  /// Which query of its lane a token predicts a part of, counted from 1, 0 none, where several documents are asked the
  /// same one: how likely it is after each of them is contrasted. The document whose query it is has loss weights above
  /// 0 there, the others have none. Empty: nowhere.
  std::vector<std::int32_t> queries = {};
};

/// How many of the tokens that count as answers (TokenBatch::answers) the model held most likely.
struct AnswerCounts {
  std::int64_t right = 0;
  std::int64_t all = 0;
};

/// What a step makes of the tokens of one source.
struct SourceTotals {
  double loss = 0;    // the sum of loss weight times negative log-likelihood, nats
  double weight = 0;  // the sum of the loss weights
  AnswerCounts answers;
};

/// What a step makes of a model and its teacher: sums over tokens, times their loss weights, in nats.
struct DistillationTotals {
  double loss = 0;        // of the targets' negative log-likelihoods
  double divergence = 0;  // of the model's distributions from the teacher's
};

/// What a step makes of queries that several documents are asked.
struct ContrastTotals {
  double loss = 0;     // of the cross-entropies over the documents, nats, each times its query's tokens
  double tokens = 0;   // of the queries
  AnswerCounts found;  // queries that are likeliest after their own document
};

/// Lanes, and columns of every lane, [begin, end).
TokenBatch lanes_of(const TokenBatch& batch, std::int64_t begin, std::int64_t end);
TokenBatch columns_of(const TokenBatch& batch, std::int64_t begin, std::int64_t end);

}  // namespace palimpsest
