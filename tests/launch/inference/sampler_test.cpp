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

TEST(Sampler, MinPLeavesThoseNextToTheLikeliest) {
  expect_frequencies({.min_p = 0.45}, {0, 0.5 / 0.75, 0, 0.25 / 0.75});
  expect_frequencies({.min_p = 1}, {0, 1, 0, 0});
  // After the temperature: 0.25^2 / 0.5^2 is a fourth.
  expect_frequencies({.temperature = 0.5, .min_p = 0.24}, {0, 0.8, 0, 0.2});
}

TEST(Sampler, RepetitionPenaltyDividesWhatIsPositiveAndMultipliesWhatIsNegative) {
  const std::vector<float> both = {2.0f, 1.5f, -1.0f, -1.5f};
  const auto likeliest = [&](const std::vector<std::uint8_t>& seen, double penalty) {
    return sample_token(both, {.temperature = 0, .repetition_penalty = penalty}, 0, seen);
  };
  EXPECT_EQ(likeliest({1, 0, 0, 0}, 1.2), 0);  // 1.67 against 1.5
  EXPECT_EQ(likeliest({1, 0, 0, 0}, 1.5), 1);
  EXPECT_EQ(likeliest({0, 1, 1, 1}, 1.5), 0);
  const std::vector<float> negative = {-1.0f, -1.5f};
  EXPECT_EQ(sample_token(negative, {.temperature = 0, .repetition_penalty = 1.6}, 0, std::vector<std::uint8_t>{1, 0}),
            1);
  EXPECT_EQ(likeliest({1, 1, 1, 1}, 1), 0);
  EXPECT_EQ(likeliest({}, 100), 0);
}

TEST(Sampler, LogProbabilitiesAreThoseOfTheModel) {
  const std::vector<float> shifted = {std::log(0.1f) + 80, std::log(0.5f) + 80, std::log(0.15f) + 80,
                                      std::log(0.25f) + 80};
  for (std::int32_t token = 0; token < 4; ++token) {
    EXPECT_NEAR(log_probability(shifted, token), logits[static_cast<std::size_t>(token)], 1e-5);
  }
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
  EXPECT_THROW(check(SamplingOptions{.min_p = -0.1}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.min_p = 1.1}), ConfigError);
  EXPECT_THROW(check(SamplingOptions{.repetition_penalty = 0}), ConfigError);
  const std::vector<float> bad = {0, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(sample_token(bad, {}, 0), NumericalError);
}

}  // namespace
}  // namespace palimpsest
