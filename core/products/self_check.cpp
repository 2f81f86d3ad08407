#include "core/products/self_check.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace palimpsest::products {

namespace {

// Micro-kernels of 12, 8, 4 and 1 rows, a second block of units, two chunks of the inner dimension and half a pair.
constexpr std::int64_t all_rows = 61, inner = 1101, columns = 45;

float left_at(std::int64_t i, std::int64_t k) { return static_cast<float>((i * 7 + k * 11) % 13 - 6); }
float right_at(std::int64_t k, std::int64_t j) { return static_cast<float>((k * 5 + j * 3) % 11 - 5); }

/// Row-major (rows, columns), or (columns, rows) of the transposed matrix.
template <class Function>
std::vector<bfloat16> operand(std::int64_t rows, std::int64_t columns, bool transposed, Function at) {
  std::vector<bfloat16> values(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      values[static_cast<std::size_t>(transposed ? j * rows + i : i * columns + j)] = at(i, j);
    }
  }
  return values;
}

ConstMatrix view(const std::vector<bfloat16>& values, std::int64_t rows, std::int64_t columns, bool transposed) {
  return transposed ? matrix(values.data(), columns, rows, rows).transposed()
                    : matrix(values.data(), rows, columns, columns);
}

template <class Result>
bool gives(const Product& product, const ConstMatrix& a, const ConstMatrix& b, const std::vector<float>& sums) {
  for (const Output output : {Output::overwrite, Output::accumulate}) {
    const float before = output == Output::accumulate ? 3.0f : 0.0f;
    std::vector<Result> actual(sums.size(), Result(3.0f)), expected(sums.size());
    std::ranges::transform(sums, expected.begin(), [&](float sum) { return static_cast<Result>(before + sum); });
    product(a, b, matrix(actual.data(), a.rows, b.columns, b.columns), output);
    const auto same = [](Result x, Result y) { return static_cast<float>(x) == static_cast<float>(y); };
    if (!std::ranges::equal(actual, expected, same)) return false;
  }
  return true;
}

bool check(const Product& product, std::int64_t rows, bool transpose_a, bool transpose_b,
           const std::vector<float>& sums) {
  const std::vector<bfloat16> left = operand(rows, inner, transpose_a, left_at);
  const std::vector<bfloat16> right = operand(inner, columns, transpose_b, right_at);
  const ConstMatrix a = view(left, rows, inner, transpose_a), b = view(right, inner, columns, transpose_b);
  return gives<float>(product, a, b, sums) && gives<bfloat16>(product, a, b, sums);
}

std::vector<float> expected_sums(std::int64_t rows) {
  std::vector<float> sums(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < inner; ++k) {
      for (std::int64_t j = 0; j < columns; ++j) {
        sums[static_cast<std::size_t>(i * columns + j)] += left_at(i, k) * right_at(k, j);
      }
    }
  }
  return sums;
}

}  // namespace

bool is_exact(const Product& product) {
  const std::vector<float> sums = expected_sums(all_rows);
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      if (!check(product, all_rows, transpose_a, transpose_b, sums)) return false;
    }
  }
  return true;
}

bool row_is_exact(const Product& product) { return check(product, 1, false, true, expected_sums(1)); }

}  // namespace palimpsest::products
