// Intervals and p values by resampling.
#include "launch/measures/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace palimpsest {

namespace {

using Column = std::vector<double>;

MeanEstimate estimate(const Column& column, const BootstrapOptions& options = {}) {
  return bootstrap_means(std::span(&column, 1), options).front();
}

Column alternating(int count) {
  Column column;
  for (int i = 0; i < count; ++i) column.push_back(i % 2);
  return column;
}

TEST(Bootstrap, EqualItemsLeaveNoDoubt) {
  const MeanEstimate constant = estimate({0.25, 0.25, 0.25});
  EXPECT_EQ(constant.mean, 0.25);
  EXPECT_EQ(constant.low, 0.25);
  EXPECT_EQ(constant.high, 0.25);
}

TEST(Bootstrap, IntervalIsThatOfTheMean) {
  // The mean of 400 has the standard error sqrt(0.25 / 400) = 0.025.
  const MeanEstimate mean = estimate(alternating(400), {.samples = 2000, .confidence = 0.95, .seed = 3});
  EXPECT_EQ(mean.mean, 0.5);
  EXPECT_NEAR(mean.low, 0.5 - 1.96 * 0.025, 0.006);
  EXPECT_NEAR(mean.high, 0.5 + 1.96 * 0.025, 0.006);
  const MeanEstimate half = estimate(alternating(400), {.samples = 2000, .confidence = 0.5, .seed = 3});
  EXPECT_NEAR(half.high, 0.5 + 0.674 * 0.025, 0.004);
}

TEST(Bootstrap, QuantilesLieBetweenTheDraws) {
  // Of one draw all quantiles are its mean; of two, 25 % and 75 % lie a quarter of the way from either.
  const Column column = {0, 1, 2, 5};
  const double first = estimate(column, {.samples = 1, .confidence = 0.5, .seed = 1}).low;
  const MeanEstimate two = estimate(column, {.samples = 2, .confidence = 0.5, .seed = 1});
  EXPECT_GT(two.high, two.low);
  EXPECT_NEAR(two.high - two.low, std::abs(first - (two.low + two.high) / 2), 1e-12);
}

TEST(Bootstrap, DependsOnTheSeedAlone) {
  const Column column = alternating(9);
  const MeanEstimate one = estimate(column), same = estimate(column);
  EXPECT_EQ(one.low, same.low);
  EXPECT_EQ(one.high, same.high);
  // Columns beside it change nothing, and are drawn alike.
  const std::vector<Column> columns = {column, column, Column(9, 2.0)};
  for (int i = 0; i < 2; ++i) EXPECT_EQ(bootstrap_means(columns, {})[static_cast<std::size_t>(i)].low, one.low);
  EXPECT_NE(bootstrap_p_value(Column{-1, 2, 0.5, -0.5, 3}, {.samples = 999, .confidence = 0.9, .seed = 1}),
            bootstrap_p_value(Column{-1, 2, 0.5, -0.5, 3}, {.samples = 999, .confidence = 0.9, .seed = 2}));
}

TEST(Bootstrap, PValue) {
  EXPECT_DOUBLE_EQ(bootstrap_p_value(Column{0.1, 0.2, 0.3}, {.samples = 999}), 0.002);
  EXPECT_DOUBLE_EQ(bootstrap_p_value(Column{-0.1, -0.2}, {.samples = 999}), 0.002);
  EXPECT_EQ(bootstrap_p_value(Column{0, 0, 0}, {}), 1);
  EXPECT_GT(bootstrap_p_value(Column{-1, 1, -1, 1}, {}), 0.5);
}

TEST(Bootstrap, RefusesWhatCannotBe) {
  EXPECT_THROW(estimate({}), DataError);
  EXPECT_THROW(estimate({1}, {.samples = 0}), ConfigError);
  EXPECT_THROW(estimate({1}, {.confidence = 1}), ConfigError);
  EXPECT_THROW(estimate({1}, {.confidence = std::nan("")}), ConfigError);
}

}  // namespace

}  // namespace palimpsest
