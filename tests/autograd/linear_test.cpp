#include "autograd/ops/linear.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

constexpr auto weight_is_parameter = [](std::size_t i) { return i == 1; };

std::vector<double> reference(const std::vector<double>& x, const std::vector<double>& weight, std::size_t in) {
  const std::size_t rows = x.size() / in, out = weight.size() / in;
  std::vector<double> y(rows * out);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < out; ++j) {
      for (std::size_t k = 0; k < in; ++k) y[i * out + j] += x[i * in + k] * weight[j * in + k];
    }
  }
  return y;
}

TEST(Linear, IsProved) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return linear(tape, in[0], in[1]); },
       .inputs = {testing::exact_tensor(pool, {2, 3, 5}, 1), testing::exact_tensor(pool, {4, 5}, 2)},
       .is_parameter = weight_is_parameter});
}

TEST(Linear, MultipliesByTheTransposedWeight) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor x = testing::exact_tensor(pool, {2, 3, 5}, 1), weight = testing::exact_tensor(pool, {4, 5}, 2);
  const Variable y = linear(tape, Variable(x), Variable(weight));
  EXPECT_TRUE((y.shape() == Shape{2, 3, 4}));
  testing::expect_close(y.value().to_doubles(), reference(x.to_doubles(), weight.to_doubles(), 5), 1e-14);
  EXPECT_EQ(tape.size(), 0u);
}

TEST(Linear, WeightGradientsOfBfloat16GrowInFloat32) {
  MemoryPool pool;
  const auto one = [&] { return Tensor::from_values(pool, {1, 1}, DataType::bfloat16, std::vector<double>{1}); };
  const Variable weight = Variable::leaf(one(), DataType::float32);
  for (int i = 0; i < 300; ++i) {
    Tape tape(pool);
    tape.backward(linear(tape, Variable(one()), weight));
  }
  EXPECT_EQ(weight.gradient().to_doubles(), std::vector<double>{300});
}

TEST(Linear, NoRowsGiveAZeroWeightGradient) {
  MemoryPool pool;
  for (const DataType type : testing::all_types) {
    Tape tape(pool);
    const Variable x = Variable::leaf(Tensor(pool, {0, 5}, type));
    const Variable weight = Variable::leaf(testing::normal_tensor(pool, {4, 5}, type, 2));
    const Variable y = linear(tape, x, weight);
    EXPECT_EQ(y.value().elements(), 0);
    y.add_gradient(pool, Tensor(pool, {0, 4}, type));
    tape.backward_from_gradients();
    EXPECT_EQ(weight.gradient().to_doubles(), std::vector<double>(20, 0.0));
  }
}

TEST(Linear, NamesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable x(Tensor(pool, {2, 3}, DataType::float32));
  try {
    linear(tape, x, Variable(Tensor(pool, {4, 5}, DataType::float32)));
    FAIL() << "no error";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("x float32 (2, 3) and weight float32 (4, 5)"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(linear(tape, x, Variable(Tensor(pool, {4, 3}, DataType::bfloat16))), ShapeError);
  EXPECT_THROW(linear(tape, x, Variable(Tensor(pool, {3}, DataType::float32))), ShapeError);
  EXPECT_THROW(linear_add(tape, x, Variable(Tensor(pool, {4, 3}, DataType::float32)), x), ShapeError);
}

TEST(LinearAdd, IsProved) {
  MemoryPool pool;
  testing::check_operator({.function = [](Tape& tape, auto in) { return linear_add(tape, in[0], in[1], in[2]); },
                           .inputs = {testing::exact_tensor(pool, {6, 5}, 1), testing::exact_tensor(pool, {4, 5}, 2),
                                      testing::exact_tensor(pool, {6, 4}, 3)},
                           .is_parameter = weight_is_parameter});
  // The residual may be the factor too.
  testing::check_operator({.function = [](Tape& tape, auto in) { return linear_add(tape, in[0], in[1], in[0]); },
                           .inputs = {testing::exact_tensor(pool, {6, 5}, 1), testing::exact_tensor(pool, {5, 5}, 2)},
                           .is_parameter = weight_is_parameter});
}

TEST(LinearAdd, AddsTheResidualAndSharesItsGradient) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor x = testing::exact_tensor(pool, {6, 5}, 1), weight = testing::exact_tensor(pool, {4, 5}, 2);
  const Variable residual = Variable::leaf(testing::exact_tensor(pool, {6, 4}, 3));
  const Variable y = linear_add(tape, Variable(x), Variable(weight), residual);
  auto expected = reference(x.to_doubles(), weight.to_doubles(), 5);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += residual.value().to_doubles()[i];
  testing::expect_close(y.value().to_doubles(), expected, 1e-14);
  const Tensor upstream = testing::exact_tensor(pool, {6, 4}, 4);
  y.add_gradient(pool, upstream);
  tape.backward_from_gradients();
  EXPECT_EQ(residual.gradient().raw().data(), upstream.raw().data());
}

}  // namespace
}  // namespace palimpsest
