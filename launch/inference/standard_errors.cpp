#include "launch/inference/standard_errors.h"

#include <cmath>
#include <cstdint>
#include <numeric>

namespace palimpsest {

RatioEstimate estimate_ratio(std::span<const double> y, std::span<const double> x) {
  const double sum = std::accumulate(x.begin(), x.end(), 0.0);
  RatioEstimate estimate{std::accumulate(y.begin(), y.end(), 0.0) / sum, std::nullopt};
  if (x.size() < 2) return estimate;
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double residual = y[i] - estimate.ratio * x[i];
    squares += residual * residual;
  }
  const auto count = static_cast<double>(x.size());
  estimate.standard_error = std::sqrt(count / (count - 1) * squares) / sum;
  return estimate;
}

std::optional<StandardErrors> standard_errors(const std::vector<Score>& documents) {
  if (documents.size() < 2) return std::nullopt;
  std::vector<double> nll;
  for (const Score& document : documents) nll.push_back(document.nll);
  const auto per = [&](std::int64_t Score::*unit) {
    std::vector<double> units;
    for (const Score& document : documents) units.push_back(static_cast<double>(document.*unit));
    return estimate_ratio(nll, units);
  };
  const RatioEstimate token = per(&Score::tokens), word = per(&Score::words), byte = per(&Score::bytes);
  return StandardErrors{.nats_per_token = *token.standard_error,
                        .token_perplexity = std::exp(token.ratio) * *token.standard_error,
                        .word_perplexity = std::exp(word.ratio) * *word.standard_error,
                        .bits_per_byte = *byte.standard_error / std::log(2.0)};
}

}  // namespace palimpsest
