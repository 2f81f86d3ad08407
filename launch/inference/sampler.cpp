#include "launch/inference/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

void check(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    throw ConfigError(fmt::format("--temperature is {}: expected 0 (greedy) or more", options.temperature));
  }
  if (options.top_k < 0) throw ConfigError(fmt::format("--top-k is {}: expected 0 (all) or more", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw ConfigError(fmt::format("--top-p is {}: expected more than 0 and at most 1", options.top_p));
  }
}

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index) {
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (!std::isfinite(logits[token])) {
      throw NumericalError(fmt::format("the logit of token {} is not finite after {} generated tokens", token, index));
    }
  }
  const auto likeliest = std::ranges::max_element(logits);
  if (options.temperature == 0) return static_cast<std::int32_t>(likeliest - logits.begin());

  // Candidates from the likeliest down; equal logits in the order of their ids.
  std::vector<std::int32_t> candidates(logits.size());
  std::iota(candidates.begin(), candidates.end(), 0);
  std::ranges::stable_sort(candidates, [&](std::int32_t a, std::int32_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(candidates.size())) {
    candidates.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> weights(candidates.size());
  std::ranges::transform(candidates, weights.begin(), [&](std::int32_t token) {
    return std::exp((static_cast<double>(logits[token]) - *likeliest) / options.temperature);
  });
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1) {
    double reached = 0;
    std::size_t kept = 0;
    while (kept < weights.size() && reached < options.top_p * total) reached += weights[kept++];
    candidates.resize(kept);
    weights.resize(kept);
    total = reached;
  }
  double remaining = Random(options.seed, RandomPurpose::sampling).uniform(index) * total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    remaining -= weights[i];
    if (remaining < 0) return candidates[i];
  }
  return candidates.back();
}

}  // namespace palimpsest
