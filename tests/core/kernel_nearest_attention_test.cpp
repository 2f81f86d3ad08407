// Attention over the nearest of stored keys against plain loops.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/kernels/nearest_attention.h"
#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Sizes {
  std::int64_t rows, stored, heads, kv_heads, d, top_k;
};

/// Inputs and results of one type.
template <class T>
struct NearestPass {
  using A = accumulate_t<T>;

  NearestPass(const Sizes& sizes, std::vector<StoredKeys> runs) : sizes(sizes), runs(std::move(runs)) {
    const auto normal = [&](std::int64_t rows, std::int64_t heads, std::uint64_t seed) {
      return testing::normal_tensor(pool, {rows, heads * sizes.d}, data_type_of<T>, seed);
    };
    q = normal(sizes.rows, sizes.heads, 1);
    k = normal(sizes.stored, sizes.kv_heads, 2);
    v = normal(sizes.stored, sizes.kv_heads, 3);
    d_output = normal(sizes.rows, sizes.heads, 4);
    output = Tensor(pool, q.shape(), data_type_of<T>);
    d_query = Tensor(pool, q.shape(), data_type_of<T>);
    rows.assign(static_cast<std::size_t>(sizes.rows * sizes.heads * sizes.top_k), 77);
    weights.resize(rows.size());
  }

  HeadRows<const T> view(const Tensor& tensor, std::int64_t heads) const { return {tensor.data<T>(), heads, sizes.d}; }

  void run() {
    const NearestAttentionInputs<T> in{.runs = runs,
                                       .top_k = sizes.top_k,
                                       .query = view(q, sizes.heads),
                                       .key = view(k, sizes.kv_heads),
                                       .value = view(v, sizes.kv_heads)};
    const Nearest<T> nearest{rows.data(), weights.data()};
    nearest_attention_forward<T>(pool, in, {output.data<T>(), sizes.heads, sizes.d}, sizes.rows, nearest);
    nearest_attention_backward<T>(pool, in, sizes.rows, nearest, view(std::as_const(d_output), sizes.heads),
                                  {{d_query.data<T>(), sizes.heads, sizes.d}, false});
  }

  /// Output and the gradient of queries by the formulas, in double.
  std::pair<std::vector<double>, std::vector<double>> expected() const {
    const std::vector<double> queries = q.to_doubles(), keys = k.to_doubles(), values = v.to_doubles();
    const std::vector<double> gradient = d_output.to_doubles();
    std::vector<double> out(queries.size(), 0.0), dq(queries.size(), 0.0);
    const auto at = [&](std::int64_t row, std::int64_t head, std::int64_t heads) {
      return static_cast<std::size_t>((row * heads + head) * sizes.d);
    };
    const double scale = 1 / std::sqrt(static_cast<double>(sizes.d));
    for (const StoredKeys& one : runs) {
      for (std::int64_t row = one.first_query; row < one.first_query + one.queries; ++row) {
        for (std::int64_t head = 0; head < sizes.heads; ++head) {
          const std::int64_t kv = head / (sizes.heads / sizes.kv_heads);
          const std::size_t mine = at(row, head, sizes.heads);
          const auto dot = [&](const std::vector<double>& a, std::size_t i, const std::vector<double>& b,
                               std::size_t j) {
            double sum = 0;
            for (std::size_t c = 0; c < static_cast<std::size_t>(sizes.d); ++c) sum += a[i + c] * b[j + c];
            return sum;
          };
          std::vector<std::pair<double, std::size_t>> order;
          for (std::int64_t j = one.first_key; j < one.first_key + one.keys; ++j) {
            const std::size_t key = at(j, kv, sizes.kv_heads);
            order.emplace_back(-dot(queries, mine, keys, key), key);
          }
          std::ranges::sort(order);
          order.resize(std::min(order.size(), static_cast<std::size_t>(sizes.top_k)));
          double total = 0, along = 0;
          for (const auto& [score, key] : order) total += std::exp(-score * scale);
          for (const auto& [score, key] : order) {
            along += std::exp(-score * scale) / total * dot(gradient, mine, values, key);
          }
          for (const auto& [score, key] : order) {
            const double weight = std::exp(-score * scale) / total;
            for (std::size_t c = 0; c < static_cast<std::size_t>(sizes.d); ++c) {
              out[mine + c] += weight * values[key + c];
              dq[mine + c] += weight * (dot(gradient, mine, values, key) - along) * scale * keys[key + c];
            }
          }
        }
      }
    }
    return {out, dq};
  }

  MemoryPool pool;
  Sizes sizes;
  std::vector<StoredKeys> runs;
  Tensor q, k, v, d_output, output, d_query;
  std::vector<std::int32_t> rows;
  std::vector<A> weights;
};

template <class T>
void check(const Sizes& sizes, const std::vector<StoredKeys>& runs) {
  NearestPass<T> pass(sizes, runs);
  pass.run();
  const auto [output, d_query] = pass.expected();
  const double tolerance = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 2e-5 : 3e-2;
  testing::expect_close(pass.output.to_doubles(), output, tolerance);
  testing::expect_close(pass.d_query.to_doubles(), d_query, tolerance);
}

TEST(NearestAttention, AgreesWithPlainLoops) {
  for (const std::int64_t top_k : {1, 3, 32}) {
    for (const std::int64_t keys : {1, 31, 33, 100}) {
      check<double>({9, keys + 5, 4, 2, 6, top_k}, {{2, 6, 3, keys}});
      check<float>({9, keys + 5, 2, 2, 16, top_k}, {{2, 6, 3, keys}});
    }
  }
  // All that is stored, so that rounding cannot choose other keys.
  check<bfloat16>({9, 20, 2, 1, 16, 32}, {{2, 6, 3, 17}});
}

TEST(NearestAttention, RunsSearchTheirOwnKeysAndOthersFindNothing) {
  const Sizes sizes{12, 60, 2, 1, 8, 4};
  const std::vector<StoredKeys> runs{{1, 3, 0, 20}, {6, 2, 40, 3}, {10, 1, 15, 45}};
  check<double>(sizes, runs);
  NearestPass<double> pass(sizes, runs);
  pass.run();
  EXPECT_EQ(pass.output.rows(0, 1).to_doubles(), std::vector<double>(16, 0.0));
  EXPECT_EQ(pass.d_query.rows(4, 6).to_doubles(), std::vector<double>(32, 0.0));
  EXPECT_EQ(pass.rows[0], -1);
  const auto first = pass.rows.begin() + 6 * 2 * 4;
  EXPECT_EQ(std::vector<std::int32_t>(first, first + 4), (std::vector<std::int32_t>{40, 41, 42, -1}));
}

TEST(NearestAttention, OfEqualKeysTheFirstAreFound) {
  NearestPass<float> pass({1, 100, 1, 1, 4, 3}, {{0, 1, 0, 100}});
  fill(pass.k, 1.0);
  pass.run();
  EXPECT_EQ(pass.rows, (std::vector<std::int32_t>{0, 1, 2}));
}

// A store so large that the queries' scores do not stand in memory at once.
TEST(NearestAttention, SearchesLargeStoresSomeQueriesAtATime) {
  const std::int64_t keys = (std::int64_t{1} << 20) + 3;
  NearestPass<float> pass({3, keys, 1, 1, 2, 4}, {{0, 3, 0, keys}});
  pass.run();
  const auto [output, d_query] = pass.expected();
  testing::expect_close(pass.output.to_doubles(), output, 1e-4);
}

TEST(NearestAttention, RepeatsItsBitsAndOtherThreadsRoundOtherwiseAtMost) {
  std::vector<std::vector<double>> outputs;
  for (const int threads : {1, 4, 4}) {
    const ThreadCount count(threads);
    NearestPass<float> pass({40, 300, 4, 2, 16, 8}, {{0, 40, 0, 300}});
    pass.run();
    outputs.push_back(pass.output.to_doubles());
    outputs.push_back(pass.d_query.to_doubles());
  }
  EXPECT_EQ(outputs[2], outputs[4]);
  EXPECT_EQ(outputs[3], outputs[5]);
  testing::expect_close(outputs[2], outputs[0], 1e-5);
  testing::expect_close(outputs[3], outputs[1], 1e-5);
}

}  // namespace
}  // namespace palimpsest
