// How the loss falls as a model has read more: by the position in the document, which the memory answers for, by the
// number of segments that the memory holds, and by the position in the segment, which is as far as local attention
// sees.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/inference/evaluation_accumulator.h"

namespace palimpsest {

/// The tokens at positions [begin, end), or with so many compressions behind them.
struct PositionScore {
  std::int64_t begin = 0, end = 0;
  std::int64_t tokens = 0;
  double nll = 0;  // nats, summed over the tokens

  /// exp(nll / tokens).
  double token_perplexity() const;
};

class PositionLosses final : public EvaluationAccumulator {
 public:
  enum class Position { in_document, in_segment, in_compressions };

  /// Buckets [0, first), [first, 2 first), [2 first, 4 first) and so on, each as wide as all before it, up to the
  /// largest position, `positions` - 1.
  PositionLosses(Position kind, std::int64_t first, std::int64_t positions);

  void add(const EvaluatedRun& run) override;
  std::span<double> sums() override { return sums_; }

  /// In ascending order; buckets without a token are left out.
  std::vector<PositionScore> scores() const;

 private:
  std::size_t bucket_of(std::int64_t position) const;
  std::int64_t position_of(const EvaluatedRun& run, std::int64_t i) const;

  Position kind_;
  std::int64_t first_, positions_;
  std::vector<double> sums_;  // of each bucket the negative log-likelihood, then the tokens
};

}  // namespace palimpsest
