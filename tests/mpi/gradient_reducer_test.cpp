// The sum of gradients over ranks: bits, buckets, order, bytes on the wire.
#include "optim/gradient_reducer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "core/comm/communication_counter.h"
#include "optim/gradient_norm.h"
#include "tests/file_damage.h"
#include "tests/mpi/job.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

std::uint64_t seed_of(int rank) { return static_cast<std::uint64_t>(7 + rank); }

/// The parameters of one rank, with gradients of its own; rank 1 has none of the embedding and nobody of the norm.
struct Rank {
  explicit Rank(DataType type = DataType::float32) {
    add_every_role(parameters, pool, type, type);
    set_random_gradients(parameters, pool, seed_of(job().rank()));
    if (job().rank() == 1) parameters.find("embed_tokens.weight").variable.clear_gradient();
    parameters.find("layers.0.input_layernorm.weight").variable.clear_gradient();
  }
  std::vector<std::vector<double>> gradients() const {
    std::vector<std::vector<double>> all;
    for (const Parameter& parameter : parameters) all.push_back(parameter.variable.gradient().to_doubles());
    return all;
  }
  MemoryPool pool;
  ParameterList parameters;
};

/// What every rank should have, added in rank order in float32 (or in the type of the tests).
template <class T>
std::vector<std::vector<double>> expected_sums(const ParameterList& parameters) {
  std::vector<std::vector<double>> all;
  std::uint64_t index = 0;
  for (const Parameter& parameter : parameters) {
    ++index;
    std::vector<T> sum(static_cast<std::size_t>(parameter.master.elements()));
    for (int rank = 0; rank < job().size(); ++rank) {
      if (parameter.role == ParameterRole::norm || (rank == 1 && parameter.role == ParameterRole::embedding)) continue;
      const auto part = random_values(parameter.master.elements(), 1000 * seed_of(rank) + index);
      for (std::size_t i = 0; i < part.size(); ++i) sum[i] += static_cast<T>(part[i]);
    }
    all.emplace_back(sum.begin(), sum.end());
  }
  return all;
}

TEST(GradientReducer, SumsInRankOrderWhateverTheBuckets) {
  for (const std::int64_t bucket : {std::int64_t{0}, std::int64_t{1000}, std::int64_t{100000}, std::int64_t{1} << 30}) {
    Rank rank;
    GradientReducer reducer(rank.parameters, job(), rank.pool, {.bucket_bytes = bucket});
    std::vector<std::size_t> arrived;
    reducer.finish([&](std::size_t index) { arrived.push_back(index); });
    EXPECT_EQ(rank.gradients(), expected_sums<float>(rank.parameters)) << bucket;
    std::ranges::sort(arrived);
    EXPECT_EQ(arrived, (std::vector<std::size_t>{0, 1, 2, 3}));
  }
}

TEST(GradientReducer, GradientsThatLeaveEarlyGiveTheSameBits) {
  Rank rank;
  GradientReducer reducer(rank.parameters, job(), rank.pool, {.bucket_bytes = 4000});
  for (int step = 0; step < 2; ++step) {
    // Ranks announce at their own pace, in one order, which need not be that of the parameters.
    if (step == 0) {
      if (job().rank() > 0) reducer.begin(2, 4);
    } else {
      reducer.begin(0, 1);
      reducer.begin(2, 4);
    }
    reducer.finish();
    EXPECT_EQ(rank.gradients(), expected_sums<float>(rank.parameters));
    rank.parameters.clear_gradients();
    set_random_gradients(rank.parameters, rank.pool, seed_of(job().rank()));
    if (job().rank() == 1) rank.parameters.find("embed_tokens.weight").variable.clear_gradient();
    rank.parameters.find("layers.0.input_layernorm.weight").variable.clear_gradient();
  }
  EXPECT_THROW(reducer.begin(0, 5), ShapeError) << "there are four parameters";
  if (job().size() == 1) return;
  reducer.begin(3, 4);
  EXPECT_THROW(reducer.begin(2, 4), ShapeError) << "parameter 3 has left";
  reducer.finish();
}

TEST(GradientReducer, Float64GradientsAreSummedToo) {
  Rank rank(DataType::float64);
  GradientReducer(rank.parameters, job(), rank.pool, {}).finish();
  const auto expected = expected_sums<double>(rank.parameters), sums = rank.gradients();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    for (std::size_t j = 0; j < sums[i].size(); ++j) ASSERT_NEAR(sums[i][j], expected[i][j], 1e-14);
  }
}

TEST(GradientReducer, ABfloat16WireHalvesTheBytesAtABoundedError) {
  std::vector<std::int64_t> bytes;
  for (const WireType wire : {WireType::float32, WireType::bfloat16}) {
    Rank rank;
    CommunicationCounter counter;
    const CommunicationObservation observation(job(), counter);
    GradientReducer(rank.parameters, job(), rank.pool, {.wire = wire}).finish();
    bytes.push_back(counter.counts().bytes());
    const auto expected = expected_sums<float>(rank.parameters), sums = rank.gradients();
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      for (std::size_t j = 0; j < sums[i].size(); ++j) {
        error += std::pow(sums[i][j] - expected[i][j], 2);
        norm += std::pow(expected[i][j], 2);
      }
    }
    EXPECT_LE(std::sqrt(error / norm), wire == WireType::float32 ? 0.0 : 0x1p-8);
  }
  EXPECT_EQ(bytes[0], 2 * bytes[1]);
  // Two (ranks - 1) / ranks of all gradients, up to the rounding of shares to lines.
  Rank rank;
  const double elements = static_cast<double>(rank.parameters.elements());
  EXPECT_NEAR(static_cast<double>(bytes[0]) / (elements * 8.0 * (job().size() - 1) / job().size()), 1.0, 0.01);
}

TEST(GradientReducer, SharesGetTheSumOfTheirOwn) {
  Rank rank;
  const ParameterShares shares(rank.parameters, job().rank(), job().size());
  CommunicationCounter counter;
  const CommunicationObservation observation(job(), counter);
  GradientReducer(rank.parameters, job(), rank.pool, {}, shares).finish();
  const auto expected = expected_sums<float>(rank.parameters), sums = rank.gradients();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const Share own = shares.of(i, sums[i].size());
    EXPECT_EQ(shares.cut(i), i % 2 == 0) << "the embedding and the matrix";
    for (std::size_t j = own.begin; j < own.end; ++j) ASSERT_EQ(sums[i][j], expected[i][j]);
  }
  EXPECT_EQ(counter.counts().operations.at("begin_reduce_scatter_sum").calls, 2);
  EXPECT_EQ(counter.counts().operations.at("begin_all_reduce_sum").calls, 1) << "norm and gate together";
}

TEST(GradientNorm, IsTheSameOnEveryRankAndWhicheverSharesAreKnown) {
  Rank whole, cut;
  GradientReducer(whole.parameters, job(), whole.pool, {}).finish();
  double expected = 0;
  for (const auto& gradient : whole.gradients()) {
    for (const double value : gradient) expected += value * value;
  }
  const double norm = global_gradient_norm(whole.parameters, job());
  EXPECT_NEAR(norm, std::sqrt(expected), 1e-9 * norm);
  for (const auto& other : job().all_gather(std::as_bytes(std::span(&norm, 1)))) {
    EXPECT_TRUE(std::ranges::equal(other, std::as_bytes(std::span(&norm, 1))));
  }
  const ParameterShares shares(cut.parameters, job().rank(), job().size());
  GradientReducer(cut.parameters, job(), cut.pool, {}, shares).finish();
  EXPECT_EQ(global_gradient_norm(cut.parameters, job()), norm);
  // One rank's infinity is everybody's.
  if (job().rank() == job().size() - 1) {
    set_gradient(whole.parameters.find("layers.0.self_attn.memory_gate"), whole.pool, {1, 2, INFINITY, 4, 5});
  }
  GradientReducer(whole.parameters, job(), whole.pool, {}).finish();
  EXPECT_FALSE(std::isfinite(global_gradient_norm(whole.parameters, job())));
}

}  // namespace
}  // namespace palimpsest
