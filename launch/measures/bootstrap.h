// How sure a mean over items is, by the bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
// chapters 13 and 16): the items are drawn again and again with replacement, and the means of the draws looked at.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace palimpsest {

struct BootstrapOptions {
  std::int64_t samples = 1000;  // how often all items are drawn
  double confidence = 0.95;     // how much of the draws' means an interval holds, in (0, 1)
  std::uint64_t seed = 1;

  bool operator==(const BootstrapOptions&) const = default;
};

/// Throws ConfigError naming the option whose value cannot be.
void check(const BootstrapOptions& options);

struct MeanEstimate {
  double mean = 0;
  double low = 0, high = 0;  // of the draws' means, the quantiles that leave out as much on both sides
};

/// The mean of each column; column[i] is a value of item i, and all columns have as many. A draw takes the same items
/// of every column. Draw number n depends on seed, n and the number of items alone. Throws DataError on no items.
std::vector<MeanEstimate> bootstrap_means(std::span<const std::vector<double>> columns,
                                          const BootstrapOptions& options);

/// Two-sided p of the hypothesis that the mean is 0: twice the smaller share of draws whose mean is on one side of 0 or
/// at it, itself counted as one draw more on either side, so that p is never 0; 1 at most.
double bootstrap_p_value(std::span<const double> values, const BootstrapOptions& options);

}  // namespace palimpsest
