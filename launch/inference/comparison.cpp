#include "launch/inference/comparison.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

void require_same_documents(const SavedEvaluation& first, const SavedEvaluation& other) {
  const auto fail = [&](const std::string& difference) {
    throw DataError(fmt::format("{} and {}: are not of the same documents: {}", first.path.string(),
                                other.path.string(), printable(difference)));
  };
  if (first.data_checksum != other.data_checksum) {
    fail(fmt::format("the checksums of {} and {} are {} and {}", first.data, other.data, first.data_checksum,
                     other.data_checksum));
  }
  if (first.documents.size() != other.documents.size()) {
    fail(fmt::format("there are {} and {}", first.documents.size(), other.documents.size()));
  }
  for (std::size_t i = 0; i < first.documents.size(); ++i) {
    const Score &a = first.documents[i], &b = other.documents[i];
    if (a.name != b.name || a.tokens != b.tokens || a.words != b.words || a.bytes != b.bytes) {
      fail(fmt::format("document {} is {} of {} tokens and {} of {} tokens", i, a.name, a.tokens, b.name, b.tokens));
    }
  }
}

std::vector<PositionDifference> position_differences(const std::vector<PositionScore>& first,
                                                     const std::vector<PositionScore>& other) {
  std::vector<PositionDifference> differences;
  for (const PositionScore& a : first) {
    const auto b = std::ranges::find_if(other, [&](const PositionScore& score) {
      return score.begin == a.begin && score.end == a.end && score.tokens == a.tokens;
    });
    if (b == other.end() || a.tokens == 0) continue;
    differences.push_back({a.begin, a.end, a.tokens, (b->nll - a.nll) / static_cast<double>(a.tokens)});
  }
  return differences;
}

PairedDifference difference(const SavedEvaluation& first, const SavedEvaluation& other) {
  PairedDifference paired;
  std::vector<double> differences, tokens, nll;
  for (std::size_t i = 0; i < first.documents.size(); ++i) {
    const Score& document = first.documents[i];
    differences.push_back(other.documents[i].nll - document.nll);
    tokens.push_back(static_cast<double>(document.tokens));
    nll.push_back(document.nll / 100);
    if (differences.back() < 0) ++paired.better;
    if (differences.back() > 0) ++paired.worse;
  }
  paired.nats_per_token = estimate_ratio(differences, tokens);
  paired.percent = estimate_ratio(differences, nll);
  paired.sign_test = sign_test(paired.better, paired.worse);
  paired.by_position = position_differences(first.by_position, other.by_position);
  paired.by_position_in_segment = position_differences(first.by_position_in_segment, other.by_position_in_segment);
  paired.by_compressions = position_differences(first.by_compressions, other.by_compressions);
  return paired;
}

}  // namespace

double sign_test(std::int64_t better, std::int64_t worse) {
  const std::int64_t tosses = better + worse, fewer = std::min(better, worse);
  const auto log_factorial = [](std::int64_t n) { return std::lgamma(static_cast<double>(n) + 1); };
  double tail = 0;
  for (std::int64_t k = 0; k <= fewer; ++k) {
    tail += std::exp(log_factorial(tosses) - log_factorial(k) - log_factorial(tosses - k) -
                     static_cast<double>(tosses) * std::log(2.0));
  }
  return std::min(2 * tail, 1.0);
}

std::vector<ComparedRun> compare(std::vector<ComparedRun> runs) {
  for (ComparedRun& run : runs) {
    if (!run.evaluation.complete) {
      throw DataError(fmt::format("{}: is of an evaluation that was stopped", run.evaluation.path.string()));
    }
    if (run.evaluation.total.tokens == 0) {
      throw DataError(fmt::format("{}: has no token", run.evaluation.path.string()));
    }
    run.errors = standard_errors(run.evaluation.documents);
    if (&run == &runs.front()) continue;
    require_same_documents(runs.front().evaluation, run.evaluation);
    run.difference = difference(runs.front().evaluation, run.evaluation);
  }
  return runs;
}

}  // namespace palimpsest
