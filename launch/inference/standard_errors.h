// How sure a measure over documents is: its standard error if the documents had been drawn at random from all that are
// like them. Tokens of one document are alike, so documents are counted, not tokens.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "launch/inference/document_scores.h"

namespace palimpsest {

struct RatioEstimate {
  double ratio = 0;
  std::optional<double> standard_error;  // nothing of fewer than two documents
};

/// R = sum(y) / sum(x) over n documents, with the standard error of a ratio of sums,
/// sqrt(n / (n - 1) sum (y_i - R x_i)^2) / sum(x) (Cochran, Sampling Techniques, 3rd edition 1977, chapter 6, of a
/// sample that is small beside the population). `y` and `x` are equally many.
RatioEstimate estimate_ratio(std::span<const double> y, std::span<const double> x);

struct StandardErrors {
  double nats_per_token, token_perplexity, word_perplexity, bits_per_byte;
};

/// Of the measures of all these documents together. A perplexity exp(R) has R's standard error times exp(R) (delta
/// method). Nothing of fewer than two documents.
std::optional<StandardErrors> standard_errors(const std::vector<Score>& documents);

}  // namespace palimpsest
