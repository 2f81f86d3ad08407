#include "launch/report/thinning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace palimpsest {

namespace {

/// As large as can be where it is not a number.
double rank_of(double value) { return std::isnan(value) ? std::numeric_limits<double>::infinity() : value; }

}  // namespace

std::vector<std::size_t> thinned_steps(const RunHistory& history, std::size_t limit) {
  const std::size_t count = history.steps();
  std::vector<std::size_t> all(count);
  std::iota(all.begin(), all.end(), std::size_t{0});
  if (count <= limit) return all;
  std::set<std::size_t> kept = {0, count - 1};
  const std::size_t stretches = std::max<std::size_t>(1, limit / 3);
  const auto by = [](const std::vector<double>& values) {
    return [&values](std::size_t a, std::size_t b) { return rank_of(values[a]) < rank_of(values[b]); };
  };
  for (std::size_t i = 0; i < stretches; ++i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i * count / stretches);
    const auto end = all.begin() + static_cast<std::ptrdiff_t>((i + 1) * count / stretches);
    if (const auto* loss = history.column("loss")) {
      kept.insert(*std::min_element(begin, end, by(*loss)));
      kept.insert(*std::max_element(begin, end, by(*loss)));
    }
    if (const auto* norm = history.column("gradient_norm")) kept.insert(*std::max_element(begin, end, by(*norm)));
  }
  return {kept.begin(), kept.end()};
}

std::vector<std::size_t> evenly_spread(std::size_t count, std::size_t limit) {
  std::vector<std::size_t> kept;
  if (count <= limit || limit < 2) {
    kept.resize(std::min(count, limit));
    std::iota(kept.begin(), kept.end(), std::size_t{0});
    return kept;
  }
  for (std::size_t i = 0; i < limit; ++i) kept.push_back(i * (count - 1) / (limit - 1));
  return kept;
}

}  // namespace palimpsest
