// The loss with a teacher: values against plain loops, gradients against central differences.
#include <cmath>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/cross_entropy.h"
#include "core/parallel.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

/// A few more rows than there are logits at a time (head_block_rows), so that blocks have to add up.
constexpr std::int64_t many = 515, vocabulary = 11, width = 6, teacher_width = 4;

class DistillationTest : public ::testing::Test {
 protected:
  /// Of `rows` rows, some of weight 0.
  LossTargets wanted(std::int64_t rows, double share, DataType type = DataType::float64) {
    LossTargets all;
    for (std::int64_t i = 0; i < rows; ++i) {
      all.targets.push_back(static_cast<std::int32_t>(i * 7 % vocabulary));
      all.weights.push_back(i % 5 == 2 ? 0.0f : 0.5f + 0.25f * static_cast<float>(i % 3));
    }
    all.teacher = std::make_shared<const TeacherRows>(
        TeacherRows{converted(pool_, testing::exact_tensor(pool_, {rows, teacher_width}, 3), type),
                    converted(pool_, testing::exact_tensor(pool_, {vocabulary, teacher_width}, 4), type), share});
    all.distilled = std::make_shared<DistillationTotals>();
    return all;
  }
  std::vector<Tensor> inputs(std::int64_t rows) {
    return {testing::exact_tensor(pool_, {rows, width}, 1), testing::exact_tensor(pool_, {vocabulary, width}, 2)};
  }

  MemoryPool pool_;
};

std::vector<double> log_softmax(const Tensor& hidden, const Tensor& weight, std::int64_t row) {
  const auto x = hidden.to_doubles(), w = weight.to_doubles();
  const auto in = static_cast<std::size_t>(hidden.shape()[1]);
  std::vector<double> logs;
  double sum = 0;
  for (std::size_t v = 0; v < static_cast<std::size_t>(vocabulary); ++v) {
    double logit = 0;
    for (std::size_t k = 0; k < in; ++k) logit += x[static_cast<std::size_t>(row) * in + k] * w[v * in + k];
    logs.push_back(logit);
    sum += std::exp(logit);
  }
  for (double& value : logs) value -= std::log(sum);
  return logs;
}

TEST_F(DistillationTest, IsProved) {
  for (const double share : {0.3, 1.0}) {
    testing::check_operator({.function =
                                 [&](Tape& tape, auto in) {
                                   return linear_cross_entropy(tape, in[0], in[1], wanted(7, share, in[0].data_type()));
                                 },
                             .inputs = inputs(7),
                             .is_parameter = [](std::size_t i) { return i == 1; }});
  }
}

TEST_F(DistillationTest, MixesLossAndDivergenceOfEveryRow) {
  const LossTargets targets = wanted(many, 0.25);
  const auto in = inputs(many);
  double loss = 0, divergence = 0;
  for (std::int64_t row = 0; row < many; ++row) {
    const auto index = static_cast<std::size_t>(row);
    const std::vector<double> log_p = log_softmax(in[0], in[1], row);
    const std::vector<double> log_q = log_softmax(targets.teacher->hidden, targets.teacher->weight, row);
    const auto weight = static_cast<double>(targets.weights[index]);
    loss -= weight * log_p[static_cast<std::size_t>(targets.targets[index])];
    for (std::size_t v = 0; v < log_p.size(); ++v) divergence += weight * std::exp(log_q[v]) * (log_q[v] - log_p[v]);
  }
  Tape tape(pool_), inference(pool_, Tape::Mode::inference);
  const Variable recorded = linear_cross_entropy(tape, Variable::leaf(in[0]), Variable::leaf(in[1]), targets);
  EXPECT_EQ(targets.distilled->loss, 0);
  tape.backward(recorded);
  EXPECT_NEAR(recorded.value().to_doubles()[0], 0.75 * loss + 0.25 * divergence, 1e-9);
  EXPECT_NEAR(targets.distilled->loss, loss, 1e-9);
  EXPECT_NEAR(targets.distilled->divergence, divergence, 1e-9);
  const Variable at_once = linear_cross_entropy(inference, Variable(in[0]), Variable(in[1]), targets);
  EXPECT_EQ(at_once.value().to_doubles(), recorded.value().to_doubles());
}

TEST_F(DistillationTest, AModelThatIsItsOwnTeacherHasNothingToLearn) {
  LossTargets targets = wanted(many, 1.0);
  const auto in = inputs(many);
  targets.teacher = std::make_shared<const TeacherRows>(TeacherRows{in[0], in[1], 1.0});
  Tape tape(pool_);
  const Variable hidden = Variable::leaf(in[0]), weight = Variable::leaf(in[1]);
  tape.backward(linear_cross_entropy(tape, hidden, weight, targets));
  EXPECT_NEAR(targets.distilled->divergence, 0, 1e-12);
  EXPECT_GT(targets.distilled->loss, 100);
  for (const Variable& input : {hidden, weight}) {
    for (const double value : input.gradient().to_doubles()) EXPECT_NEAR(value, 0, 1e-12);
  }
}

TEST_F(DistillationTest, AnswersAndSourcesCountAsWithoutATeacher) {
  const auto run = [&](bool with_teacher) {
    LossTargets targets = wanted(many, 0.5);
    if (!with_teacher) targets.teacher = nullptr;
    targets.answers.assign(many, 1);
    targets.counts = std::make_shared<AnswerCounts>();
    for (std::size_t i = 0; i < many; ++i) targets.sources.push_back(i % 2);
    targets.totals = std::make_shared<std::vector<SourceTotals>>(2);
    const auto counts = targets.counts;
    const auto totals = targets.totals;
    const auto in = inputs(many);
    Tape tape(pool_);
    tape.backward(linear_cross_entropy(tape, Variable::leaf(in[0]), Variable::leaf(in[1]), targets));
    return std::vector<double>{static_cast<double>(counts->right), static_cast<double>((*totals)[0].answers.right),
                               (*totals)[0].loss, (*totals)[1].loss};
  };
  const std::vector<double> with = run(true), without = run(false);
  EXPECT_GT(with[0], 0);
  testing::expect_close(with, without, 1e-12);
}

TEST_F(DistillationTest, DoesNotDependOnTheThreadCount) {
  std::vector<std::vector<double>> results;
  for (const int threads : {1, 3}) {
    const ThreadCount scope(threads);
    const auto in = inputs(many);
    Tape tape(pool_);
    const Variable weight = Variable::leaf(in[1]);
    const Variable loss = linear_cross_entropy(tape, Variable(in[0]), weight, wanted(many, 0.5));
    tape.backward(loss);
    results.push_back(weight.gradient().to_doubles());
    results.back().push_back(loss.value().to_doubles()[0]);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(DistillationTest, RefusesATeacherOfOtherRowsOrTokens) {
  const auto in = inputs(7);
  const auto refused = [&](Shape hidden, Shape weight, DataType type) {
    LossTargets targets = wanted(7, 0.5);
    targets.teacher = std::make_shared<const TeacherRows>(
        TeacherRows{Tensor::zeros(pool_, hidden, type), Tensor::zeros(pool_, weight, type), 0.5});
    Tape tape(pool_);
    EXPECT_THROW(linear_cross_entropy(tape, Variable(in[0]), Variable(in[1]), targets), ShapeError);
  };
  refused({6, 4}, {vocabulary, 4}, DataType::float64);
  refused({7, 4}, {vocabulary + 1, 4}, DataType::float64);
  refused({7, 4}, {vocabulary, 5}, DataType::float64);
  refused({7, 4}, {vocabulary, 4}, DataType::float32);
}

}  // namespace
}  // namespace palimpsest
