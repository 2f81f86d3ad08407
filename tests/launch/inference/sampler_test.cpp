// Sampling against counted frequencies, and its limits.
#include "launch/inference/sampler.h"

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

// Probabilities 0.1, 0.5, 0.15, 0.25 at temperature 1.
const std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.15f), std::log(0.25f)};

std::array<double, 4> frequencies(const SamplingOptions& options) {
  constexpr int draws = 20000;
  std::array<double, 4> counts{};
  for (int i = 0; i < draws; ++i) counts.at(static_cast<std::size_t>(sample_token(logits, options, i))) += 1.0 / draws;
  return counts;
}

void expect_frequencies(const SamplingOptions& options, const std::array<double, 4>& expected) {
  const auto found = frequencies(options);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(found[i], expected[i], 0.015) << "token " << i;
    EXPECT_EQ(found[i] == 0, expected[i] == 0) << "token " << i;
  }
}

TEST(Sampler, FollowsTheProbabilities) { expect_frequencies({}, {0.1, 0.5, 0.15, 0.25}); }

TEST(Sampler, TemperatureSharpens) {
  const double sum = 0.01 + 0.25 + 0.0225 + 0.0625;
  expect_frequencies({.temperature = 0.5}, {0.01 / sum, 0.25 / sum, 0.0225 / sum, 0.0625 / sum});
}

TEST(Sampler, TopKLeavesTheLikeliest) { expect_frequencies({.top_k = 2}, {0, 0.5 / 0.75, 0, 0.25 / 0.75}); }

TEST(Sampler, TopPLeavesTheFewestThatReachIt) {
  expect_frequencies({.top_p = 0.5}, {0, 1, 0, 0});
  expect_frequencies({.top_p = 0.76}, {0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9});
}

TEST(Sampler, GreedyTakesTheFirstOfTheLikeliest) {
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, 5), 1);
  EXPECT_EQ(sample_token(std::vector<float>{1, 3, 3}, {.temperature = 0}, 0), 1);
}

TEST(Sampler, SameSeedAndIndexSameToken) {
  int differs = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(sample_token(logits, {.seed = 3}, i), sample_token(logits, {.seed = 3}, i));
    differs += sample_token(logits, {.seed = 3}, i) != sample_token(logits, {.seed = 4}, i);
  }
  EXPECT_GT(differs, 20);
}

TEST(Sampler, RefusesOptionsOutOfRangeAndBadLogits) {
  EXPECT_THROW(check(SamplingOptions{.temperature = -1}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.temperature = std::nan("")}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.top_k = -1}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.top_p = 0}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.top_p = 1.5}), ConfigError);
  const std::vector<float> bad = {0, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(sample_token(bad, {}, 0), NumericalError);
}

}  // namespace
}  // namespace palimpsest
