#include "launch/measures/bootstrap.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"

namespace palimpsest {

namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// means[column][draw]
std::vector<std::vector<double>> means_of_draws(std::span<const std::vector<double>> columns,
                                                const BootstrapOptions& options) {
  check(options);
  const std::size_t items = columns.empty() ? 0 : columns.front().size();
  if (items == 0) throw DataError("there is nothing to take the mean of");
  std::vector<std::vector<double>> means(columns.size());
  std::vector<std::size_t> drawn(items);
  for (std::int64_t draw = 0; draw < options.samples; ++draw) {
    const Random random(options.seed, RandomPurpose::evaluation, static_cast<std::uint64_t>(draw));
    for (std::size_t i = 0; i < items; ++i) drawn[i] = random.below(i, items);
    for (std::size_t column = 0; column < columns.size(); ++column) {
      double sum = 0;
      for (const std::size_t item : drawn) sum += columns[column][item];
      means[column].push_back(sum / static_cast<double>(items));
    }
  }
  return means;
}

/// Between the two values that enclose it, in proportion.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

}  // namespace

void check(const BootstrapOptions& options) {
  if (options.samples < 1) {
    throw ConfigError(fmt::format("--bootstrap is {}: expected a whole number of at least 1", options.samples));
  }
  if (!(options.confidence > 0 && options.confidence < 1)) {
    throw ConfigError(fmt::format("--confidence is {}: expected a number between 0 and 1", options.confidence));
  }
}

std::vector<MeanEstimate> bootstrap_means(std::span<const std::vector<double>> columns,
                                          const BootstrapOptions& options) {
  std::vector<std::vector<double>> means = means_of_draws(columns, options);
  std::vector<MeanEstimate> estimates;
  const double outside = (1 - options.confidence) / 2;
  for (std::size_t column = 0; column < columns.size(); ++column) {
    std::ranges::sort(means[column]);
    estimates.push_back(
        {mean_of(columns[column]), quantile(means[column], outside), quantile(means[column], 1 - outside)});
  }
  return estimates;
}

double bootstrap_p_value(std::span<const double> values, const BootstrapOptions& options) {
  const std::vector<double> column(values.begin(), values.end());
  const std::vector<double> means = means_of_draws(std::span(&column, 1), options).front();
  const auto below = std::ranges::count_if(means, [](double mean) { return mean <= 0; });
  const auto above = std::ranges::count_if(means, [](double mean) { return mean >= 0; });
  return std::min(1.0, 2 * static_cast<double>(std::min(below, above) + 1) / static_cast<double>(options.samples + 1));
}

}  // namespace palimpsest
