// How much of an operator's work falls to each thread: what kernels choose their split by, and tests judge it by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

namespace palimpsest {

/// The work of each thread that is done when tasks, the largest first, go one by one to the thread that has least, as a
/// dynamic schedule deals them out.
inline std::vector<double> dealt_out(const std::vector<double>& tasks, int threads) {
  std::vector<double> shares(static_cast<std::size_t>(threads), 0.0);  // a heap, the least on top
  for (const double task : tasks) {
    std::pop_heap(shares.begin(), shares.end(), std::greater<>());
    shares.back() += task;
    std::push_heap(shares.begin(), shares.end(), std::greater<>());
  }
  return shares;
}

inline double largest_share(const std::vector<double>& shares) {
  return shares.empty() ? 0.0 : *std::max_element(shares.begin(), shares.end());
}

}  // namespace palimpsest
