// Evaluations of several models on the same documents beside each other. Which documents are hard is alike for all of
// them, so differences document by document say more than two measures with their standard errors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/inference/evaluation_file.h"
#include "launch/inference/standard_errors.h"

namespace palimpsest {

/// Of the tokens of a range of positions: what a run loses more than the first one.
struct PositionDifference {
  std::int64_t begin = 0, end = 0;
  std::int64_t tokens = 0;
  double nats_per_token = 0;
};

/// Of a run, the first one's taken away: what is below 0 is better. Standard errors are those of estimate_ratio over
/// the documents' differences.
struct PairedDifference {
  RatioEstimate nats_per_token;
  RatioEstimate percent;    // of the first run's negative log-likelihood
  std::int64_t better = 0;  // documents with a lower loss than the first run's
  std::int64_t worse = 0;
  double sign_test = 1;  // two-sided p of so uneven a split, were better and worse equally likely
  /// Ranges that hold as many tokens in both.
  std::vector<PositionDifference> by_position, by_position_in_segment, by_compressions;
};

struct ComparedRun {
  std::string name;
  SavedEvaluation evaluation;
  std::optional<StandardErrors> errors;        // of its total
  std::optional<PairedDifference> difference;  // none of the first run
};

/// The two-sided sign test: how likely it is that of `better + worse` tosses of a coin one side comes up at most
/// min(better, worse) times. 1 of none.
double sign_test(std::int64_t better, std::int64_t worse);

/// Of two runs or more, in the order given. Throws DataError, naming the files, when one is not complete, or not of the
/// same documents as the first.
std::vector<ComparedRun> compare(std::vector<ComparedRun> runs);

}  // namespace palimpsest
