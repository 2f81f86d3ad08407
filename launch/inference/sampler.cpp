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
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    throw ConfigError(fmt::format("--min-p is {}: expected 0 (all) to 1", options.min_p));
  }
  if (!(options.repetition_penalty >= 0.001 && options.repetition_penalty <= 1000)) {
    throw ConfigError(
        fmt::format("--repetition-penalty is {}: expected 0.001 to 1000, 1 for none", options.repetition_penalty));
  }
  if (options.no_repeat_ngram < 0) {
    throw ConfigError(
        fmt::format("--no-repeat-ngram is {}: expected 0 (any may repeat) or more", options.no_repeat_ngram));
  }
  if (options.min_tokens < 0)
    throw ConfigError(fmt::format("--min-tokens is {}: expected 0 or more", options.min_tokens));
}

std::vector<float> penalized_logits(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index,
                                    std::span<const std::uint8_t> seen) {
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (!std::isfinite(logits[token])) {
      throw NumericalError(fmt::format("the logit of token {} is not finite after {} generated tokens", token, index));
    }
  }
  std::vector<float> result(logits.begin(), logits.end());
  if (options.repetition_penalty != 1) {
    const double penalty = options.repetition_penalty;
    for (std::size_t token = 0; token < std::min(result.size(), seen.size()); ++token) {
      if (seen[token] == 0) continue;
      const double logit = result[token];
      result[token] = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
    }
  }
  return result;
}

std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index,
                          std::span<const std::uint8_t> seen, std::span<const std::int32_t> forbidden) {
  std::vector<float> left = penalized_logits(logits, options, index, seen);
  for (const std::int32_t token : forbidden) left[static_cast<std::size_t>(token)] = no_logit;
  const auto likeliest = std::ranges::max_element(left);
  if (options.temperature == 0) return static_cast<std::int32_t>(likeliest - left.begin());

  // Candidates from the likeliest down; equal logits in the order of their ids.
  std::vector<std::int32_t> candidates(left.size());
  std::iota(candidates.begin(), candidates.end(), 0);
  std::erase_if(candidates, [&](std::int32_t token) { return left[token] == no_logit; });
  std::ranges::stable_sort(candidates, [&](std::int32_t a, std::int32_t b) { return left[a] > left[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(candidates.size())) {
    candidates.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> weights(candidates.size());
  std::ranges::transform(candidates, weights.begin(), [&](std::int32_t token) {
    return std::exp((static_cast<double>(left[token]) - *likeliest) / options.temperature);
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
  if (options.min_p > 0) {  // the likeliest weighs 1
    const auto kept = static_cast<std::size_t>(
        std::ranges::find_if(weights, [&](double weight) { return weight < options.min_p; }) - weights.begin());
    candidates.resize(kept);
    weights.resize(kept);
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  double remaining = Random(options.seed, RandomPurpose::sampling).uniform(index) * total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    remaining -= weights[i];
    if (remaining < 0) return candidates[i];
  }
  return candidates.back();
}

double log_probability(std::span<const float> logits, std::int32_t token) {
  const double likeliest = std::ranges::max(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - likeliest);
  return logits[static_cast<std::size_t>(token)] - likeliest - std::log(total);
}

}  // namespace palimpsest
