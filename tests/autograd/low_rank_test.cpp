#include "autograd/ops/low_rank.h"

#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/linear.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

constexpr double scale = 1.5;

TEST(LowRankLinear, IsProved) {
  MemoryPool pool;
  for (const bool with_residual : {false, true}) {
    std::vector<Tensor> inputs{testing::exact_tensor(pool, {2, 3, 5}, 1), testing::exact_tensor(pool, {4, 5}, 2),
                               testing::exact_tensor(pool, {2, 5}, 3), testing::exact_tensor(pool, {4, 2}, 4)};
    if (with_residual) inputs.push_back(testing::exact_tensor(pool, {2, 3, 4}, 5));
    testing::check_operator(
        {.function =
             [=](Tape& tape, auto in) {
               return low_rank_linear(tape, in[0], in[1], {in[2], in[3], scale}, with_residual ? in[4] : Variable());
             },
         .inputs = inputs,
         .is_parameter = [](std::size_t i) { return i > 0 && i < 4; }});
  }
}

TEST(LowRankLinear, IsTheProductWithTheChangedWeight) {
  MemoryPool pool;
  Tape tape(pool, Tape::Mode::inference);
  const Tensor x = testing::exact_tensor(pool, {2, 3, 5}, 1), weight = testing::exact_tensor(pool, {4, 5}, 2);
  const Tensor down = testing::exact_tensor(pool, {2, 5}, 3), up = testing::exact_tensor(pool, {4, 2}, 4);
  std::vector<double> changed = weight.to_doubles();
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t column = 0; column < 5; ++column) {
      for (std::size_t k = 0; k < 2; ++k) {
        changed[row * 5 + column] += scale * up.to_doubles()[row * 2 + k] * down.to_doubles()[k * 5 + column];
      }
    }
  }
  const Variable expected =
      linear(tape, Variable(x), Variable(Tensor::from_values(pool, weight.shape(), DataType::float64, changed)));
  const Variable actual = low_rank_linear(tape, Variable(x), Variable(weight), {Variable(down), Variable(up), scale});
  testing::expect_close(actual.value().to_doubles(), expected.value().to_doubles(), 1e-13);
}

TEST(LowRankLinear, DeferredGradientsAreTheSame) {
  MemoryPool pool;
  std::vector<std::vector<double>> results;
  for (const bool defers : {false, true}) {
    Tape tape(pool);
    const auto deferred = defers ? std::make_shared<DeferredGradients>() : nullptr;
    std::vector<Variable> in;
    for (const Shape& shape : {Shape{1, 1, 5}, Shape{1, 5}, Shape{2, 5}, Shape{1, 2}}) {
      in.push_back(Variable::leaf(testing::normal_tensor(pool, shape, DataType::float64, in.size())));
    }
    tape.backward(low_rank_linear(tape, in[0], in[1], {in[2], in[3], scale}, {}, deferred));
    for (std::size_t i = 1; i < in.size(); ++i) EXPECT_EQ(in[i].has_gradient(), !defers) << i;
    if (deferred) deferred->run(nullptr);
    for (const Variable& input : in) results.push_back(input.gradient().to_doubles());
  }
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(results[i], results[i + 4]);
}

TEST(LowRankLinear, RefusesShapesThatDoNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const auto constant = [&](Shape shape) {
    return Variable(testing::normal_tensor(pool, shape, DataType::float32, 1));
  };
  const Variable x = constant({3, 5}), weight = constant({4, 5}), down = constant({2, 5}), up = constant({4, 2});
  EXPECT_THROW(low_rank_linear(tape, x, weight, {constant({2, 4}), up}), ShapeError);
  EXPECT_THROW(low_rank_linear(tape, x, weight, {down, constant({4, 3})}), ShapeError);
  EXPECT_THROW(low_rank_linear(tape, x, constant({4, 6}), {down, up}), ShapeError);
  EXPECT_THROW(low_rank_linear(tape, x, weight, {down, up}, constant({3, 5})), ShapeError);
}

}  // namespace
}  // namespace palimpsest
