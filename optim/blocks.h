// Parallel loops cut into blocks. Where a block begins depends on nothing but the number of elements, or the shape of a
// matrix, so sums, and the places where vector code hands over to its remainder, are the same for every number of
// threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/round_up.h"

namespace palimpsest {

/// Elements that one thread goes through sooner than several would.
inline constexpr std::int64_t few_elements = 16384;

/// The size of a block, between `least` and `most`, that cuts `count` into a multiple of 256 blocks or, where these
/// would be too small, of 128 or 64: dozens of threads share them about evenly.
inline std::int64_t even_block(std::int64_t count, std::int64_t least, std::int64_t most) {
  for (const std::int64_t even : {256, 128, 64}) {
    const std::int64_t blocks = even * std::max<std::int64_t>((count + even * most - 1) / (even * most), 1);
    const std::int64_t size = (count + blocks - 1) / blocks;
    if (size >= least) return size;
  }
  return least;
}

/// The size of a block of a loop over `count` elements.
inline std::int64_t block_of(std::int64_t count) {
  return count <= few_elements ? few_elements : round_up(even_block(count, 1024, 16384), 16);
}

/// Rows of a block of a loop over a matrix, a function of its shape alone: at least so many that sums of columns, one
/// of each block, are few beside the matrix.
inline std::int64_t rows_of_block(std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t least = 8;
  return rows * columns <= few_elements ? std::max<std::int64_t>(rows, 1)
                                        : even_block(rows, least, std::max(4 * few_elements / columns, least));
}

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
  return sum_over_blocks(count, block_of(count), [=](std::int64_t begin, std::int64_t end) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = begin; i < end; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return sum;
  });
}

}  // namespace palimpsest
