#include "core/kernels/cross_entropy.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/data_type.h"
#include "core/parallel.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

struct Expected {
  std::vector<double> nll, gradient;

  Expected(const std::vector<double>& logits, std::size_t columns, const std::vector<std::int32_t>& targets,
           const std::vector<float>& weights, double upstream)
      : gradient(logits.size()) {
    for (std::size_t row = 0; row < targets.size(); ++row) {
      long double sum = 0.0;
      for (std::size_t j = 0; j < columns; ++j) sum += std::exp(static_cast<long double>(logits[row * columns + j]));
      const auto target = static_cast<std::size_t>(targets[row]);
      nll.push_back(static_cast<double>(std::log(sum) - logits[row * columns + target]));
      for (std::size_t j = 0; j < columns; ++j) {
        const long double probability = std::exp(static_cast<long double>(logits[row * columns + j])) / sum;
        gradient[row * columns + j] =
            static_cast<double>(upstream * weights[row] * (probability - (j == target ? 1.0L : 0.0L)));
      }
    }
  }
};

const std::vector<std::int32_t> targets{0, 36, 5, 5};
const std::vector<float> weights{1.0f, 0.5f, 2.0f, 1.0f};

template <class A, class G>
void check(double tolerance) {
  MemoryPool pool;
  Tensor logits = testing::normal_tensor(pool, {4, 37}, data_type_of<A>, 1, 4.0);
  const Expected expected(logits.to_doubles(), 37, targets, weights, 0.25);
  std::vector<double> nll(4);
  cross_entropy_forward(std::as_const(logits).data<A>(), 37, targets, nll.data());
  testing::expect_close(nll, expected.nll, std::is_same_v<A, double> ? 1e-14 : 1e-6);
  std::fill(nll.begin(), nll.end(), 0.0);
  Tensor gradient = std::is_same_v<A, G> ? logits : Tensor(pool, {4, 37}, data_type_of<G>);
  cross_entropy_forward_backward(logits.data<A>(), 37, {targets, weights}, 0.25, nll.data(), gradient.data<G>());
  testing::expect_close(nll, expected.nll, std::is_same_v<A, double> ? 1e-14 : std::is_same_v<A, G> ? 1e-6 : 4e-6);
  testing::expect_close(gradient.to_doubles(), expected.gradient, tolerance);
}

TEST(CrossEntropyKernel, AgreesWithTheFormula) {
  check<float, float>(1e-6);
  check<float, bfloat16>(4e-3);
  check<double, double>(1e-14);
}

TEST(CrossEntropyKernel, LeavesAloneWhatIsBetweenRowsOfTheGradient) {
  constexpr std::size_t columns = 37, stride = 40;
  MemoryPool pool;
  const auto gradient_with = [&](std::int64_t between, std::vector<bfloat16> gradient) {
    Tensor logits = testing::normal_tensor(pool, {4, 37}, DataType::float32, 1, 4.0);
    std::vector<double> nll(4);
    cross_entropy_forward_backward(logits.data<float>(), 37, {targets, weights}, 0.25, nll.data(), gradient.data(),
                                   between);
    return gradient;
  };
  const auto close = gradient_with(0, std::vector<bfloat16>(4 * columns));
  const auto apart = gradient_with(stride, std::vector<bfloat16>(4 * stride, bfloat16(7.0f)));
  for (std::size_t i = 0; i < 4 * stride; ++i) {
    const std::size_t row = i / stride, column = i % stride;
    EXPECT_EQ(static_cast<float>(apart[i]),
              column < columns ? static_cast<float>(close[row * columns + column]) : 7.0f);
  }
}

TEST(CrossEntropyKernel, IsNeverNegativeInBfloat16) {
  std::vector<float> logits(64, -1e4f);
  logits[5] = 20.0f;
  const std::vector<std::int32_t> target{5};
  const std::vector<float> one{1.0f};
  std::vector<bfloat16> gradient(64);
  double nll = 1;
  cross_entropy_forward_backward(logits.data(), 64, {target, one}, 1.0, &nll, gradient.data());
  EXPECT_EQ(nll, 0.0);
  logits.assign(64, std::numeric_limits<float>::quiet_NaN());
  cross_entropy_forward_backward(logits.data(), 64, {target, one}, 1.0, &nll, gradient.data());
  EXPECT_TRUE(std::isnan(nll));
}

TEST(CrossEntropyKernel, StandsLargeLogits) {
  float logits[] = {1e4f, 1e4f - 1.0f, -1e4f};
  const std::vector<std::int32_t> target{1};
  const std::vector<float> one{1.0f};
  double nll = 0.0;
  cross_entropy_forward(logits, 3, target, &nll);
  EXPECT_NEAR(nll, 1.0 + std::log1p(std::exp(-1.0)), 1e-6);
  cross_entropy_forward_backward(logits, 3, {target, one}, 1.0, &nll, logits);
  EXPECT_NEAR(nll, 1.0 + std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(logits[0], 1.0 / (1.0 + std::exp(-1.0)), 1e-6);
  EXPECT_EQ(logits[2], 0.0f);
}

TEST(CrossEntropyKernel, ShowsNan) {
  const float logits[] = {1.0f, std::numeric_limits<float>::quiet_NaN(), 0.0f};
  const std::vector<std::int32_t> target{0};
  double nll = 0.0;
  cross_entropy_forward(logits, 3, target, &nll);
  EXPECT_TRUE(std::isnan(nll));
}

TEST(CrossEntropyKernel, CountsAnswersWhoseTargetIsLikeliest) {
  const std::vector<float> rows = {0, 3, 1, 2, 2, 0, 5, 1, 1};
  const auto right = [&](const std::vector<std::int32_t>& of, const std::vector<float>& weigh,
                         const std::vector<std::uint8_t>& answers) {
    std::vector<float> logits = rows;
    std::vector<double> nll(3);
    return cross_entropy_forward_backward(logits.data(), 3, {of, weigh, answers}, 1.0, nll.data(), logits.data());
  };
  const std::vector<float> ones(3, 1.0f);
  EXPECT_EQ(right({1, 0, 0}, ones, {1, 1, 1}), 3);
  EXPECT_EQ(right({1, 1, 0}, ones, {1, 1, 1}), 2) << "of equals the first";
  EXPECT_EQ(right({1, 0, 2}, ones, {0, 1, 1}), 1);
  EXPECT_EQ(right({1, 0, 0}, {0, 1, 1}, {1, 1, 1}), 2) << "without a weight it is not asked";
  EXPECT_EQ(right({1, 0, 0}, ones, {}), 0);
}

TEST(CrossEntropyKernel, RowsWithoutWeightGiveExactlyNothing) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  float logits[] = {1.0f, 2.0f, infinity, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<std::int32_t> two{0, 1};
  const std::vector<float> second_is_nothing{1.0f, 0.0f};
  double nll[] = {-1.0, -1.0};
  cross_entropy_forward_backward(logits, 2, {two, second_is_nothing}, 1.0, nll, logits);
  EXPECT_NEAR(nll[0], std::log1p(std::exp(1.0)), 1e-6);
  EXPECT_EQ(nll[1], 0.0);
  EXPECT_EQ(logits[2], 0.0f);
  EXPECT_EQ(logits[3], 0.0f);
}

TEST(CrossEntropyKernel, DoesNotDependOnTheThreadCount) {
  MemoryPool pool;
  const std::vector<std::int32_t> many_targets(90, 3);
  const std::vector<float> ones(90, 1.0f);
  const auto run_with = [&](int threads) {
    const ThreadCount scope(threads);
    Tensor logits = testing::normal_tensor(pool, {90, 300}, DataType::float32, 1);
    std::vector<double> result(90);
    cross_entropy_forward_backward(logits.data<float>(), 300, {many_targets, ones}, 1.0, result.data(),
                                   logits.data<float>());
    const auto gradient = logits.to_doubles();
    result.insert(result.end(), gradient.begin(), gradient.end());
    return result;
  };
  for (const int threads : {2, 3}) EXPECT_EQ(run_with(threads), run_with(1));
}

}  // namespace
}  // namespace palimpsest
