// How much of an operator's work falls to each thread: what kernels choose their split by, and tests judge it by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
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

/// The tasks [begin, end) of `count` that fall to a thread where each gets as many of them, in order.
struct TaskRange {
  std::int64_t begin, end;
};
inline TaskRange tasks_of(std::int64_t count, int thread, int threads) {
  return {count * thread / threads, count * (thread + 1) / threads};
}

/// The same of `count` columns, of which a thread gets whole lines of `line` in a cache.
inline TaskRange columns_of(std::int64_t count, std::int64_t line, int thread, int threads) {
  const TaskRange lines = tasks_of((count + line - 1) / line, thread, threads);
  return {std::min(count, lines.begin * line), std::min(count, lines.end * line)};
}

/// The work of each thread where tasks, the work of each of them given, are shared out like that.
inline std::vector<double> shared_out(const std::vector<double>& tasks, int threads) {
  std::vector<double> shares;
  for (int thread = 0; thread < threads; ++thread) {
    const TaskRange own = tasks_of(static_cast<std::int64_t>(tasks.size()), thread, threads);
    shares.push_back(std::accumulate(tasks.begin() + own.begin, tasks.begin() + own.end, 0.0));
  }
  return shares;
}

/// Adds what each thread does in one part of an operator to what it does in others.
inline void add_shares(const std::vector<double>& part, std::vector<double>& shares) {
  std::transform(part.begin(), part.end(), shares.begin(), shares.begin(), std::plus<>());
}

/// What each thread does in a matrix product.
struct ProductShares {
  ProductShares() = default;
  explicit ProductShares(int threads)
      : multiplications(static_cast<std::size_t>(threads)), packed(static_cast<std::size_t>(threads)) {}

  std::vector<double> multiplications;
  std::vector<double> packed;  // elements of the right operand that it packs
};

inline double largest_share(const std::vector<double>& shares) {
  return shares.empty() ? 0.0 : *std::max_element(shares.begin(), shares.end());
}

}  // namespace palimpsest
