// The gradient norm, clipping, and the sum of gradients over ranks (threads stand in for ranks).
#include <gtest/gtest.h>
#include <omp.h>

#include <barrier>
#include <cmath>
#include <thread>

#include "optim/gradient_norm.h"
#include "optim/gradient_sync.h"
#include "optim/optimizer.h"
#include "tests/fake_communicator.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

TEST(GradientNorm, IsTheNormOfAllGradientsTogether) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "a", ParameterRole::matrix, {1, 2}, {0, 0});
  add_parameter(parameters, pool, "b", ParameterRole::norm, {1}, {0});
  add_parameter(parameters, pool, "c", ParameterRole::norm, {1}, {0});  // without gradient
  set_gradient(parameters.find("a"), pool, {3, 4});
  set_gradient(parameters.find("b"), pool, {-12});
  EXPECT_DOUBLE_EQ(global_gradient_norm(parameters), 13.0);
  set_gradient(parameters.find("c"), pool, {std::nan("")});
  EXPECT_FALSE(std::isfinite(global_gradient_norm(parameters)));
}

TEST(GradientNorm, DoesNotOverflowFloat32) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "a", ParameterRole::norm, {2}, {0, 0}, DataType::float32, DataType::float32);
  set_gradient(parameters.find("a"), pool, {3e30, 4e30});
  EXPECT_NEAR(global_gradient_norm(parameters) / 5e30, 1.0, 1e-6);
}

TEST(GradientNorm, BitsDoNotDependOnThreads) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  set_random_gradients(parameters, pool, 1);
  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(1);
  const double expected = global_gradient_norm(parameters);
  for (const int threads : {2, 3}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(global_gradient_norm(parameters), expected) << threads << " threads";
  }
  omp_set_num_threads(threads_before);
}

TEST(Clipping, ScalesLargeGradientsOnly) {
  EXPECT_EQ(clip_factor(4.0, 1.0), 0.25);
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0);
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0) << "a clip norm of 0 means no clipping";
}

TEST(Clipping, InTheUpdateEqualsClippingTheGradients) {
  MemoryPool pool;
  OptimizerConfig config;
  config.epsilon = 1;  // else AdamW's first step would not see the size of a gradient
  const auto updated = [&](double clip, double gradient_factor) {
    ParameterList parameters;
    add_parameter(parameters, pool, "a", ParameterRole::matrix, {1, 2}, {1, 1});
    set_gradient(parameters.find("a"), pool, {3 * gradient_factor, 4 * gradient_factor});
    const double scale = clip_factor(global_gradient_norm(parameters), clip);
    make_optimizer(config, parameters, pool)->update(parameters, {.model = 0.1}, scale);
    return parameters.find("a").master.to_doubles();
  };
  EXPECT_EQ(updated(2.5, 1.0), updated(0.0, 0.5));
  EXPECT_NE(updated(2.5, 1.0), updated(0.0, 1.0));
}

/// What the ranks of a thread communicator share.
struct Meeting {
  explicit Meeting(int size) : size(size), arrival(size), contributions(static_cast<std::size_t>(size)) {}
  int size;
  std::barrier<> arrival;
  std::vector<std::vector<double>> contributions;
};

/// Ranks that are threads of this process; only the sums are needed.
class ThreadCommunicator final : public FakeCommunicator {
 public:
  ThreadCommunicator(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return meeting_.size; }
  void all_reduce_sum(std::span<float> values) override { sum(values); }
  void all_reduce_sum(std::span<double> values) override { sum(values); }
  void all_reduce_sum(std::span<std::int64_t> values) override { sum(values); }
  void barrier() override { meeting_.arrival.arrive_and_wait(); }

  std::vector<std::size_t> lengths;  // of every sum asked for

 private:
  template <class T>
  void sum(std::span<T> values) {
    lengths.push_back(values.size());
    meeting_.contributions[static_cast<std::size_t>(rank_)].assign(values.begin(), values.end());
    barrier();
    for (std::size_t i = 0; i < values.size(); ++i) {
      T total = 0;
      for (const auto& contribution : meeting_.contributions) total += static_cast<T>(contribution.at(i));
      values[i] = total;
    }
    barrier();
  }

  Meeting& meeting_;
  int rank_;
};

class GradientSync : public testing::TestWithParam<DataType> {};

TEST_P(GradientSync, SumsOverRanksThroughBucketsThatCutGradients) {
  constexpr int ranks = 3;
  constexpr std::int64_t bucket_elements = 50000;
  Meeting meeting(ranks);
  std::vector<MemoryPool> pools(ranks);
  std::vector<ParameterList> parameters(ranks);
  std::vector<std::vector<std::size_t>> lengths(ranks);
  const auto gradient_seed = [](int rank) { return static_cast<std::uint64_t>(7 + rank); };
  const auto work = [&](int rank) {
    const auto at = static_cast<std::size_t>(rank);
    add_every_role(parameters[at], pools[at], GetParam(), GetParam());
    set_random_gradients(parameters[at], pools[at], gradient_seed(rank));
    if (rank == 1) parameters[at].find("embed_tokens.weight").variable.clear_gradient();
    parameters[at].find("layers.0.input_layernorm.weight").variable.clear_gradient();  // on no rank
    ThreadCommunicator communicator(meeting, rank);
    synchronize_gradients(parameters[at], communicator, pools[at], bucket_elements);
    lengths[at] = communicator.lengths;
  };
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank) threads.emplace_back(work, rank);
  }

  const auto elements = static_cast<std::size_t>(parameters[0].elements());
  EXPECT_EQ(lengths[0], (std::vector<std::size_t>{bucket_elements, bucket_elements, elements - 2 * bucket_elements}));
  std::uint64_t index = 0;
  for (const Parameter& parameter : parameters[0]) {
    ++index;
    const auto result = parameter.variable.gradient().to_doubles();
    std::vector<double> expected(result.size());
    for (int rank = 0; rank < ranks; ++rank) {
      if (parameter.role == ParameterRole::norm || (rank == 1 && parameter.role == ParameterRole::embedding)) continue;
      const auto part = random_values(parameter.master.elements(), 1000 * gradient_seed(rank) + index);
      for (std::size_t i = 0; i < part.size(); ++i) expected[i] += part[i];
    }
    for (std::size_t i = 0; i < result.size(); ++i) ASSERT_NEAR(result[i], expected[i], 1e-5) << parameter.name;
    for (std::size_t rank = 1; rank < ranks; ++rank) {
      EXPECT_EQ(parameters[rank].find(parameter.name).variable.gradient().to_doubles(), result);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GradientSync, testing::Values(DataType::float32, DataType::float64),
                         [](const auto& type) { return std::string(name_of(type.param)); });

TEST(GradientSyncAlone, KeepsGradientsAndFillsMissingOnes) {
  MemoryPool pool;
  ParameterList parameters;
  add_parameter(parameters, pool, "a", ParameterRole::norm, {2}, {0, 0});
  add_parameter(parameters, pool, "b", ParameterRole::norm, {2}, {0, 0});
  const Tensor shared = Tensor::from_values(pool, {2}, DataType::float64, std::vector<double>{1, 2});
  parameters.find("a").variable.add_gradient(pool, shared);
  Meeting meeting(1);
  ThreadCommunicator communicator(meeting, 0);
  synchronize_gradients(parameters, communicator, pool);
  EXPECT_EQ(parameters.find("a").variable.gradient().to_doubles(), (std::vector<double>{1, 2}));
  EXPECT_EQ(parameters.find("b").variable.gradient().to_doubles(), (std::vector<double>{0, 0}));
  EXPECT_TRUE(communicator.lengths.empty());
}

}  // namespace
}  // namespace palimpsest
