#include "autograd/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/parallel.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

using Targets = std::vector<std::int32_t>;
using Weights = std::vector<float>;

testing::OperatorCase loss_case(std::vector<Tensor> inputs, Targets targets, Weights weights) {
  return {.function =
              [=](Tape& tape, auto in) {
                return linear_cross_entropy(tape, in[0], in[1], LossTargets{targets, weights});
              },
          .inputs = std::move(inputs),
          .is_parameter = [](std::size_t i) { return i == 1; }};
}

std::vector<double> reference_nll(const Tensor& hidden, const Tensor& weight, const Targets& targets) {
  const auto x = hidden.to_doubles(), w = weight.to_doubles();
  const auto in = static_cast<std::size_t>(hidden.shape()[-1]), vocab = static_cast<std::size_t>(weight.shape()[0]);
  std::vector<double> nll;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    double sum = 0.0, at_target = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) {
      double logit = 0.0;
      for (std::size_t k = 0; k < in; ++k) logit += x[row * in + k] * w[v * in + k];
      sum += std::exp(logit);
      if (static_cast<std::int32_t>(v) == targets[row]) at_target = logit;
    }
    nll.push_back(std::log(sum) - at_target);
  }
  return nll;
}

class CrossEntropyTest : public ::testing::Test {
 protected:
  MemoryPool pool_;
  Tensor hidden_ = testing::exact_tensor(pool_, {2, 4, 6}, 1), weight_ = testing::exact_tensor(pool_, {11, 6}, 2);
  const Targets targets_{0, 10, 5, 5, 3, 1, 0, 7};
  const Weights weights_{1, 0.5, 0, 1, 2, 1, 0, 1};
};

TEST_F(CrossEntropyTest, IsProved) { testing::check_operator(loss_case({hidden_, weight_}, targets_, weights_)); }

TEST_F(CrossEntropyTest, SumsWeightedLosses) {
  const auto nll = reference_nll(hidden_, weight_, targets_);
  double expected = 0.0;
  for (std::size_t i = 0; i < nll.size(); ++i) expected += static_cast<double>(weights_[i]) * nll[i];
  Tape inference(pool_, Tape::Mode::inference);
  const Variable loss = linear_cross_entropy(inference, Variable(hidden_), Variable(weight_), {targets_, weights_});
  EXPECT_EQ(loss.data_type(), DataType::float64);
  EXPECT_EQ(loss.shape().rank(), 0);
  EXPECT_NEAR(loss.value().to_doubles()[0], expected, 1e-12);
  testing::expect_close(token_losses(pool_, hidden_, weight_, targets_), nll, 1e-13);
}

TEST_F(CrossEntropyTest, IsKnownOnceBackwardHasRun) {
  Tape preview(pool_, Tape::Mode::preview), record(pool_), constant(pool_);
  const Variable hidden = Variable::leaf(hidden_), weight = Variable::leaf(weight_);
  EXPECT_TRUE(std::isnan(linear_cross_entropy(preview, hidden, weight, {targets_, weights_}).value().to_doubles()[0]));
  const Variable loss = linear_cross_entropy(record, hidden, weight, {targets_, weights_});
  EXPECT_TRUE(std::isnan(loss.value().to_doubles()[0]));
  record.backward(loss);
  const double known = loss.value().to_doubles()[0];
  const Variable at_once = linear_cross_entropy(constant, hidden.detached(), weight.detached(), {targets_, weights_});
  EXPECT_NEAR(at_once.value().to_doubles()[0], known, 1e-12);
}

TEST_F(CrossEntropyTest, RowsWithoutWeightHaveNoGradient) {
  const auto result = testing::run_operator(loss_case({hidden_, weight_}, targets_, weights_), DataType::float32);
  for (const std::size_t row : {2, 6}) {
    for (std::size_t k = 0; k < 6; ++k) EXPECT_EQ(result.gradients[0][row * 6 + k], 0.0);
  }
}

// More rows than one block (512 for a small vocabulary), with blocks that have no weight at all.
TEST_F(CrossEntropyTest, BlocksOfRowsAddUp) {
  constexpr std::int64_t rows = 3 * 512 + 40;
  const Tensor hidden = testing::exact_tensor(pool_, {rows, 6}, 3);
  Targets targets(rows);
  Weights weights(rows, 0.0f);
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<std::int32_t>(i % 11);
  for (std::size_t i = 512; i < 1024; ++i) weights[i] = 1.0f;  // only the second block and the last one
  weights.back() = 2.0f;
  for (const DataType type : testing::all_types) {
    SCOPED_TRACE(name_of(type));
    const auto whole = testing::run_operator(loss_case({hidden, weight_}, targets, weights), type);
    // The same from the rows with weight alone, split otherwise.
    std::vector<double> value(1), dweight(66);
    const auto add_part = [&](std::int64_t begin, std::int64_t end) {
      const auto part = testing::run_operator(
          loss_case({hidden.rows(begin, end), weight_}, Targets(targets.begin() + begin, targets.begin() + end),
                    Weights(weights.begin() + begin, weights.begin() + end)),
          type);
      value[0] += part.value[0];
      for (std::size_t i = 0; i < dweight.size(); ++i) dweight[i] += part.gradients[1][i];
      const auto first = whole.gradients[0].begin() + begin * 6;
      testing::expect_close(std::vector<double>(first, first + (end - begin) * 6), part.gradients[0],
                            testing::tolerance_of(type));
    };
    add_part(512, 700);
    add_part(700, 1024);
    add_part(rows - 1, rows);
    testing::expect_close(whole.value, value, 1e-6);
    testing::expect_close(whole.gradients[1], dweight, testing::tolerance_of(type));
    for (std::size_t i = 0; i < 512 * 6; ++i) ASSERT_EQ(whole.gradients[0][i], 0.0);
    const auto earlier = testing::run_operator(loss_case({hidden, weight_}, targets, weights), type, 3.0);
    for (std::size_t i = 0; i < 512 * 6; ++i) ASSERT_EQ(earlier.gradients[0][i], 3.0);
  }
}

TEST_F(CrossEntropyTest, NothingToLearnGivesZeroGradients) {
  for (const auto& [hidden, targets, weights] :
       {std::tuple{hidden_, targets_, Weights(8, 0.0f)}, {hidden_.rows(0, 0), Targets(), Weights()}}) {
    const auto result = testing::run_operator(loss_case({hidden, weight_}, targets, weights), DataType::bfloat16);
    EXPECT_EQ(result.value, std::vector<double>{0.0});
    EXPECT_EQ(result.gradients[0], std::vector<double>(static_cast<std::size_t>(hidden.elements()), 0.0));
    EXPECT_EQ(result.gradients[1], std::vector<double>(66, 0.0));
  }
}

TEST_F(CrossEntropyTest, CountsTheAnswersThatWereLikeliest) {
  // Logits are the hidden states: rows favour token 1, 2, 2 and both 0 and 3.
  Tensor identity(pool_, {4, 4}, DataType::float64), hidden(pool_, {4, 4}, DataType::float64);
  const std::vector<double> favours{0, 5, 1, 2, 0, 1, 5, 0, 1, 1, 5, 0, 7, 0, 0, 7};
  std::ranges::copy(favours, hidden.values<double>().begin());
  for (std::size_t i = 0; i < 16; ++i) identity.values<double>()[i] = i % 5 == 0 ? 1.0 : 0.0;
  const auto count = [&](Targets targets, Weights weights, std::vector<std::uint8_t> answers) {
    auto counts = std::make_shared<AnswerCounts>();
    Tape tape(pool_);
    tape.backward(linear_cross_entropy(tape, Variable::leaf(hidden), Variable(identity),
                                       {std::move(targets), std::move(weights), std::move(answers), counts}));
    return std::pair(counts->right, counts->all);
  };
  const Weights ones(4, 1.0f);
  EXPECT_EQ(count({1, 2, 0, 0}, ones, {1, 1, 1, 1}), std::pair(std::int64_t{3}, std::int64_t{4}));
  EXPECT_EQ(count({1, 2, 0, 3}, ones, {1, 1, 1, 1}), std::pair(std::int64_t{2}, std::int64_t{4}));  // the first counts
  EXPECT_EQ(count({1, 2, 0, 0}, ones, {1, 0, 1, 0}), std::pair(std::int64_t{1}, std::int64_t{2}));
  EXPECT_EQ(count({1, 2, 0, 0}, {0, 1, 1, 1}, {1, 1, 1, 1}), std::pair(std::int64_t{2}, std::int64_t{3}));
  EXPECT_EQ(count({1, 2, 0, 0}, ones, {}), std::pair(std::int64_t{0}, std::int64_t{0}));
  EXPECT_THROW(count({1, 2, 0, 0}, ones, {1, 1}), ShapeError);
}

TEST_F(CrossEntropyTest, AddsUpTheRowsOfEachSource) {
  const auto nll = reference_nll(hidden_, weight_, targets_);
  LossTargets wanted{targets_, weights_};
  wanted.answers = {1, 0, 1, 0, 1, 1, 0, 0};
  wanted.counts = std::make_shared<AnswerCounts>();
  wanted.sources = {0, 2, 0, 2, 2, 0, 0, 2};
  wanted.totals = std::make_shared<std::vector<SourceTotals>>(3);
  const auto counts = wanted.counts;
  const auto totals = wanted.totals;
  std::vector<double> loss(3), weight(3);
  for (std::size_t i = 0; i < nll.size(); ++i) {
    loss[wanted.sources[i]] += static_cast<double>(weights_[i]) * nll[i];
    weight[wanted.sources[i]] += static_cast<double>(weights_[i]);
  }
  Tape tape(pool_);
  const Variable hidden = Variable::leaf(hidden_), matrix = Variable::leaf(weight_);
  tape.backward(linear_cross_entropy(tape, hidden, matrix, wanted));
  for (std::size_t source = 0; source < 3; ++source) {
    EXPECT_NEAR((*totals)[source].loss, loss[source], 1e-9) << source;
    EXPECT_EQ((*totals)[source].weight, weight[source]) << source;
  }
  EXPECT_EQ((*totals)[0].answers.all, 2) << "a row without weight is none";
  EXPECT_EQ((*totals)[2].answers.all, 1);
  EXPECT_EQ((*totals)[0].answers.right + (*totals)[2].answers.right, counts->right);
}

TEST_F(CrossEntropyTest, LogitsOfAllRowsNeverExist) {
  constexpr std::int64_t rows = 8192, vocab = 1000;
  MemoryPool pool;
  const Variable hidden = Variable::leaf(testing::normal_tensor(pool, {rows, 8}, DataType::float32, 1));
  const Variable weight = Variable::leaf(testing::normal_tensor(pool, {vocab, 8}, DataType::float32, 2));
  Tape tape(pool);
  tape.backward(linear_cross_entropy(tape, hidden, weight, {Targets(rows, 1), Weights(rows, 1.0f)}));
  EXPECT_LT(pool.statistics().peak_bytes_in_use, rows * vocab * sizeof(float) / 4);
}

TEST_F(CrossEntropyTest, LossDoesNotDependOnTheThreadCount) {
  const Tensor hidden = testing::normal_tensor(pool_, {300, 16}, DataType::float32, 1);
  const Tensor weight = testing::normal_tensor(pool_, {200, 16}, DataType::float32, 2);
  const auto run_with = [&](int threads) {
    const ThreadCount scope(threads);
    return token_losses(pool_, hidden, weight, Targets(300, 7));
  };
  EXPECT_EQ(run_with(2), run_with(1));
}

TEST_F(CrossEntropyTest, NamesWhatDoesNotFit) {
  Tape tape(pool_);
  const Variable hidden(hidden_), weight(weight_);
  for (const std::int32_t bad : {11, -1}) {
    Targets targets = targets_;
    targets[3] = bad;
    try {
      linear_cross_entropy(tape, hidden, weight, {targets, weights_});
      FAIL() << "no error";
    } catch (const ShapeError& error) {
      const std::string expected = "target " + std::to_string(bad) + " of row 3";
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
    EXPECT_THROW(token_losses(pool_, hidden_, weight_, targets), ShapeError);
  }
  EXPECT_THROW(linear_cross_entropy(tape, hidden, weight, {Targets(7, 0), weights_}), ShapeError);
  EXPECT_THROW(linear_cross_entropy(tape, hidden, weight, {targets_, Weights(7)}), ShapeError);
  EXPECT_THROW(
      linear_cross_entropy(tape, hidden, Variable(Tensor(pool_, {11, 5}, DataType::float64)), {targets_, weights_}),
      ShapeError);
}

}  // namespace
}  // namespace palimpsest
