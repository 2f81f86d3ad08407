#include "autograd/ops/elementwise.h"

#include <cmath>

#include <gtest/gtest.h>

#include "autograd/ops/bias.h"
#include "core/parallel.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

TEST(Add, IsProved) {
  MemoryPool pool;
  testing::check_operator({.function = [](Tape& tape, auto in) { return add(tape, in[0], in[1]); },
                           .inputs = {testing::exact_tensor(pool, {3, 5}, 1), testing::exact_tensor(pool, {3, 5}, 2)}});
  testing::check_operator({.function = [](Tape& tape, auto in) { return add(tape, in[0], in[0]); },
                           .inputs = {testing::exact_tensor(pool, {3, 5}, 1)}});
}

TEST(Add, AddsElementByElement) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor a = testing::exact_tensor(pool, {2, 3}, 1), b = testing::exact_tensor(pool, {2, 3}, 2);
  const Variable sum = add(tape, Variable(a), Variable(b));
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(sum.value().to_doubles()[i], a.to_doubles()[i] + b.to_doubles()[i]);
  EXPECT_EQ(tape.size(), 0u);
}

TEST(Add, HandsItsGradientOnWithoutACopy) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable a = Variable::leaf(testing::exact_tensor(pool, {4}, 1));
  const Variable y = add(tape, a, Variable(testing::exact_tensor(pool, {4}, 2)));
  const Tensor upstream = testing::exact_tensor(pool, {4}, 3);
  y.add_gradient(pool, upstream);
  tape.backward_from_gradients();
  EXPECT_EQ(a.gradient().raw().data(), upstream.raw().data());
}

TEST(Add, RefusesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable a(Tensor(pool, {2, 3}, DataType::float32));
  EXPECT_THROW(add(tape, a, Variable(Tensor(pool, {3, 2}, DataType::float32))), ShapeError);
  EXPECT_THROW(add(tape, a, Variable(Tensor(pool, {2, 3}, DataType::float64))), ShapeError);
}

TEST(AddBias, IsProved) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return add_bias(tape, in[0], in[1]); },
       .inputs = {testing::exact_tensor(pool, {2, 67, 5}, 1), testing::exact_tensor(pool, {5}, 2)},
       .type_of = [](std::size_t i, DataType type) { return i == 1 ? accumulate_type(type) : type; }});
}

TEST(AddBias, AddsItToEveryRow) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor x = testing::exact_tensor(pool, {2, 3, 4}, 1), bias = testing::exact_tensor(pool, {4}, 2);
  const Variable y = add_bias(tape, Variable(x), Variable(bias));
  for (std::size_t i = 0; i < 24; ++i) {
    EXPECT_EQ(y.value().to_doubles()[i], x.to_doubles()[i] + bias.to_doubles()[i % 4]);
  }
  EXPECT_EQ(tape.size(), 0u);
}

TEST(AddBias, DoesNotDependOnTheThreadCount) {
  std::vector<std::vector<double>> sums;
  for (const int threads : {1, 3}) {
    const ThreadCount scope(threads);
    MemoryPool pool;
    Tape tape(pool);
    const Variable bias = Variable::leaf(testing::exact_tensor(pool, {70}, 2));
    const Variable y = add_bias(tape, Variable(testing::exact_tensor(pool, {301, 70}, 1)), bias);
    y.add_gradient(pool, testing::normal_tensor(pool, {301, 70}, DataType::float64, 3));
    tape.backward_from_gradients();
    sums.push_back(bias.gradient().to_doubles());
  }
  EXPECT_EQ(sums[0], sums[1]);
}

TEST(AddBias, RefusesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable x(Tensor(pool, {2, 3}, DataType::bfloat16));
  EXPECT_THROW(add_bias(tape, x, Variable(Tensor(pool, {2}, DataType::float32))), ShapeError);
  EXPECT_THROW(add_bias(tape, x, Variable(Tensor(pool, {3}, DataType::bfloat16))), ShapeError);
}

TEST(Sigmoid, IsProved) {
  MemoryPool pool;
  testing::check_operator({.function = [](Tape& tape, auto in) { return sigmoid(tape, in[0]); },
                           .inputs = {testing::exact_tensor(pool, {7}, 1)}});
}

TEST(Sigmoid, IsItsDefinition) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable y =
      sigmoid(tape, Variable(Tensor::from_values(pool, {3}, DataType::float64, std::vector<double>{0, 2, -40})));
  EXPECT_DOUBLE_EQ(y.value().to_doubles()[0], 0.5);
  EXPECT_DOUBLE_EQ(y.value().to_doubles()[1], 1 / (1 + std::exp(-2.0)));
  EXPECT_NEAR(y.value().to_doubles()[2], std::exp(-40.0), 1e-24);
}

}  // namespace
}  // namespace palimpsest
