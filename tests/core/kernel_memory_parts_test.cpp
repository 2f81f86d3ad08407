// Reads and writes of the memory leave the same bits however the threads share them, and in bfloat16 what float64
// leaves but for rounding.
#include "core/kernels/memory_parts.h"

#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/kernels/memory.h"
#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr std::int64_t heads = 4, kv_heads = 2, tokens = 700, segment_length = 340;

SequenceLayout layout_of(std::int64_t lanes, bool weighted) {
  std::vector<std::int64_t> documents(static_cast<std::size_t>(lanes * tokens), 0);
  std::fill(documents.end() - 300, documents.end(), 1);  // one begins within the last lane's second segment
  std::vector<float> weights(weighted ? documents.size() : 0);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 5) / 2.0f;
  return make_layout(documents, std::vector<std::int64_t>(static_cast<std::size_t>(lanes), 0), segment_length, weights);
}

/// How the memory is written.
struct Rule {
  bool delta = false, weighted = false, decaying = false;
  bool with_gain = false;  // of what is read
  bool alike = false;      // values, and the memory begins empty, so that its rows are alike too
};

/// Everything that reading and writing forward and backward compute, with so many threads.
template <class T>
std::vector<std::vector<double>> results_with(int threads, std::int64_t lanes, std::int64_t d, const Rule& rule) {
  using A = accumulate_t<T>;
  const ThreadCount scope(threads);
  MemoryPool pool;
  const SequenceLayout layout = layout_of(lanes, rule.weighted);
  const std::int64_t rows = layout.rows(), slots = layout.segments_per_lane;
  std::uint64_t seed = 0;
  const auto normal = [&](const Shape& shape, DataType type) {
    return testing::normal_tensor(pool, shape, type, ++seed);
  };
  const auto head_rows = [&](Tensor& tensor, std::int64_t count) { return HeadRows<T>{tensor.data<T>(), count, d}; };
  const auto inputs = [&](const Tensor& tensor, std::int64_t count) {
    return HeadRows<const T>{tensor.data<T>(), count, d};
  };
  const auto states = [&](Tensor& matrix, Tensor& norm) {
    return MemoryStates<A>{matrix.data<A>(), norm.data<A>(), lanes, kv_heads, d};
  };
  const auto constant = [&](const Tensor& matrix, const Tensor& norm) {
    return MemoryStates<const A>{matrix.data<A>(), norm.data<A>(), lanes, kv_heads, d};
  };
  const Shape wide{rows, heads * d}, narrow{rows, kv_heads * d};
  const Tensor query = normal(wide, data_type_of<T>), d_output = normal(wide, data_type_of<T>);
  const Tensor key = normal(narrow, data_type_of<T>);
  Tensor value = normal(narrow, data_type_of<T>);
  for (std::int64_t i = 0; rule.alike && i < rows * kv_heads * d; ++i) {
    T& element = value.data<T>()[i];
    element = static_cast<T>(static_cast<A>(element) * A(0.3) + A(i % d < d / 2 ? 1 : -1));
  }
  Tensor matrices = normal({slots, lanes, kv_heads, d, d}, data_type_of<A>);
  Tensor norms(pool, {slots, lanes, kv_heads, d}, data_type_of<A>);
  fill(norms, rule.alike ? 0.0 : 40.0);
  if (rule.alike) fill(matrices, 0.0);
  Tensor matrix(pool, {lanes, kv_heads, d, d}, data_type_of<A>), norm(pool, {lanes, kv_heads, d}, data_type_of<A>);
  Tensor decay(pool, {kv_heads}, data_type_of<A>), d_decay(pool, {kv_heads}, data_type_of<A>);
  fill(decay, 0.75);
  fill(d_decay, 0.0);
  const MemoryWriteInputs<T> write{.layout = layout,
                                   .key = inputs(key, kv_heads),
                                   .value = inputs(value, kv_heads),
                                   .rule = {.delta = rule.delta},
                                   .decay = rule.decaying ? std::as_const(decay).template data<A>() : nullptr};
  memory_write_forward<T>(pool, write, {states(matrices, norms), states(matrix, norm)});

  Tensor gain(pool, {heads * d}, data_type_of<A>), d_gain(pool, {heads * d}, data_type_of<A>);
  fill(gain, 1.5);
  fill(d_gain, 0.0);
  const MemoryReadInputs<T> read{.layout = layout,
                                 .query = inputs(query, heads),
                                 .states = constant(matrices, norms),
                                 .gain = rule.with_gain ? std::as_const(gain).template data<A>() : nullptr};
  Tensor output(pool, wide, data_type_of<T>), d_query(pool, wide, data_type_of<T>);
  memory_read_forward<T>(pool, read, head_rows(output, heads));
  Tensor d_matrices(pool, matrices.shape(), data_type_of<A>), d_norms(pool, norms.shape(), data_type_of<A>);
  memory_read_backward<T>(pool, read,
                          {.output = inputs(output, heads),
                           .d_output = inputs(d_output, heads),
                           .d_query = {head_rows(d_query, heads), false},
                           .d_states = {states(d_matrices, d_norms), false},
                           .d_gain = {rule.with_gain ? d_gain.data<A>() : nullptr, false}});

  Tensor d_key(pool, narrow, data_type_of<T>), d_value(pool, narrow, data_type_of<T>);
  Tensor d_matrix(pool, matrix.shape(), data_type_of<A>), d_norm(pool, norm.shape(), data_type_of<A>);
  memory_write_backward<T>(pool, write,
                           {.before = constant(matrices, norms),
                            .d_read = constant(d_matrices, d_norms),
                            .d_after = constant(matrix, norm),
                            .d_key = {head_rows(d_key, kv_heads), false},
                            .d_value = {head_rows(d_value, kv_heads), false},
                            .d_initial = {states(d_matrix, d_norm), false},
                            .d_decay = {rule.decaying ? d_decay.data<A>() : nullptr, false}});
  std::vector<std::vector<double>> results;
  for (const Tensor* tensor : {&matrices, &norms, &matrix, &norm, &output, &d_query, &d_matrices, &d_norms, &d_key,
                               &d_value, &d_matrix, &d_norm, &d_decay, &d_gain}) {
    results.push_back(tensor->to_doubles());
  }
  return results;
}

template <class T>
void compare(std::int64_t lanes, std::int64_t d, const Rule& rule) {
  SCOPED_TRACE(::testing::Message() << "d " << d << ", delta " << rule.delta << ", weighted " << rule.weighted);
  const auto one = results_with<T>(1, lanes, d, rule);
  for (const int threads : {3, 16}) {
    const auto several = results_with<T>(threads, lanes, d, rule);
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(several[i] == one[i]) << "result " << i << ", " << threads << " threads";
    }
  }
}

TEST(MemoryParts, LeaveTheSameBits) {
  for (const bool delta : {false, true}) {
    compare<float>(1, 64, {.delta = delta});
    compare<float>(2, 128, {.delta = delta});
    compare<float>(1, 24, {.delta = delta});
    compare<float>(1, 64, {.delta = delta, .weighted = true, .decaying = true});
    compare<bfloat16>(1, 64, {.delta = delta});
    compare<bfloat16>(1, 64, {.delta = delta, .weighted = true, .decaying = true, .with_gain = true});
    compare<double>(1, 32, {.delta = delta});
  }
  compare<float>(1, 256, {.delta = true});  // products of 32 to 64 tokens have a kernel of their own
}

/// Root of the sum of squares.
double length_of(const std::vector<double>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

TEST(MemoryParts, InBfloat16DifferFromFloat64ByRounding) {
  constexpr double most = 0.01;  // of a result's length; elements of bfloat16 are rounded by 0.002 at most
  for (const Rule& rule : {Rule{}, Rule{.delta = true}, Rule{.weighted = true, .decaying = true},
                           Rule{.delta = true, .weighted = true, .decaying = true}, Rule{.with_gain = true}}) {
    SCOPED_TRACE(::testing::Message() << "delta " << rule.delta << ", weighted " << rule.weighted << ", gain "
                                      << rule.with_gain);
    const auto exact = results_with<double>(2, 2, 64, rule), rounded = results_with<bfloat16>(2, 2, 64, rule);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      std::vector<double> difference = rounded[i];
      for (std::size_t j = 0; j < difference.size(); ++j) difference[j] -= exact[i][j];
      EXPECT_LE(length_of(difference), most * length_of(exact[i])) << "result " << i;
    }
  }
}

/// What normalising leaves of the gradient is then far less than what it is made of.
TEST(MemoryParts, KeepGradientsOfNormalisedReadsOfAMemoryWhoseRowsAreAlike) {
  constexpr std::size_t d_query = 5;
  const Rule rule{.with_gain = true, .alike = true};
  const auto exact = results_with<double>(1, 1, 64, rule)[d_query];
  auto difference = results_with<bfloat16>(1, 1, 64, rule)[d_query];
  for (std::size_t j = 0; j < difference.size(); ++j) difference[j] -= exact[j];
  EXPECT_LE(length_of(difference), 0.05 * length_of(exact));
}

TEST(MemoryParts, RunsOfTokensAreWholeTilesOrLeaveEnoughOfThem) {
  using memory_tiles::run_of_tokens;
  constexpr std::int64_t tile = 256;
  for (const std::int64_t least : {32, 128}) {
    for (const std::int64_t count : {0, 1, 16, 40, 256, 260, 300, 511, 2048}) {
      for (const std::int64_t parts : {1, 2, 8, 16}) {
        std::int64_t end = 0;
        for (std::int64_t part = 0; part < parts; ++part) {
          const memory_tiles::Range run = run_of_tokens(count, tile, part, parts, least);
          EXPECT_EQ(run.begin, end);
          end = run.end;
          if (run.count() == 0 || run.begin % tile == 0) continue;
          EXPECT_GE(std::min(count, (run.begin / tile + 1) * tile) - run.begin, least)
              << count << " " << part << "/" << parts;
        }
        EXPECT_EQ(end, count);
      }
    }
  }
}

}  // namespace
}  // namespace palimpsest
