// Parallel loops cut into blocks of a fixed size. Where a block begins depends on nothing but the
// element count, so sums, and the places where vector code hands over to its remainder, are the same
// for every number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace palimpsest {

inline constexpr std::int64_t block_elements = 16384;

/// Calls function(block, begin, end) for every block of [0, count), in parallel.
template <class Function>
void for_each_block(std::int64_t count, std::int64_t block_size, Function&& function) {
  const std::int64_t blocks = (count + block_size - 1) / block_size;
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t block = 0; block < blocks; ++block) {
    function(block, block * block_size, std::min(count, (block + 1) * block_size));
  }
}

/// The sum over blocks of block_sum(begin, end), a double, added up in block order.
template <class BlockSum>
double sum_over_blocks(std::int64_t count, std::int64_t block_size, BlockSum&& block_sum) {
  std::vector<double> partial(static_cast<std::size_t>((count + block_size - 1) / block_size));
  for_each_block(count, block_size, [&](std::int64_t block, std::int64_t begin, std::int64_t end) {
    partial[static_cast<std::size_t>(block)] = block_sum(begin, end);
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

/// The sum of the squares of `count` values.
template <class T>
double sum_of_squares(const T* values, std::int64_t count) {
  return sum_over_blocks(count, block_elements, [=](std::int64_t begin, std::int64_t end) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return sum;
  });
}

}  // namespace palimpsest
