#include "autograd/ops/norm.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

TEST(RmsNorm, IsProved) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return rms_norm(tape, in[0], in[1], 1e-3); },
       .inputs = {testing::exact_tensor(pool, {2, 35, 6}, 1), testing::exact_tensor(pool, {6}, 2)},
       .type_of = [](std::size_t i, DataType type) { return i == 1 ? accumulate_type(type) : type; }});
}

TEST(HeadRmsNorm, IsProved) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return head_rms_norm(tape, in[0], in[1], 1e-3); },
       .inputs = {testing::exact_tensor(pool, {2, 13, 18}, 1), testing::exact_tensor(pool, {6}, 2)},
       .type_of = [](std::size_t i, DataType type) { return i == 1 ? accumulate_type(type) : type; }});
}

TEST(HeadRmsNorm, IsThatOfEachHeadByItself) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor x = testing::exact_tensor(pool, {2, 5, 12}, 1), weight = testing::exact_tensor(pool, {4}, 2);
  const Variable heads = head_rms_norm(tape, Variable(x), Variable(weight), 1e-3);
  const Variable rows = rms_norm(tape, Variable(x.reshaped(Shape{30, 4})), Variable(weight), 1e-3);
  EXPECT_EQ(heads.shape(), x.shape());
  EXPECT_EQ(heads.value().to_doubles(), rows.value().to_doubles());
}

TEST(RmsNorm, DividesByTheRootMeanSquare) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor x = Tensor::from_values(pool, {1, 2}, DataType::float64, std::vector<double>{3, -4});
  const Tensor weight = Tensor::from_values(pool, {2}, DataType::float64, std::vector<double>{2, 10});
  const Variable y = rms_norm(tape, Variable(x), Variable(weight), 0.5);
  const double root = std::sqrt((9.0 + 16.0) / 2 + 0.5);
  testing::expect_close(y.value().to_doubles(), {6 / root, -40 / root}, 1e-15);
  EXPECT_EQ(tape.size(), 0u);
}

TEST(RmsNorm, KeepsOnlyItsInputAndOneNumberARow) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable x = Variable::leaf(testing::exact_tensor(pool, {64, 32}, 1));
  const Variable weight = Variable::leaf(testing::exact_tensor(pool, {32}, 2));
  const std::size_t before = pool.statistics().bytes_in_use;
  const Variable y = rms_norm(tape, x, weight, 1e-5);
  EXPECT_EQ(pool.statistics().bytes_in_use - before, y.value().bytes() + 64 * sizeof(double));
}

TEST(RmsNorm, RefusesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable x(Tensor(pool, {2, 3}, DataType::bfloat16));
  EXPECT_THROW(rms_norm(tape, x, Variable(Tensor(pool, {2}, DataType::float32)), 1e-5), ShapeError);
  EXPECT_THROW(rms_norm(tape, x, Variable(Tensor(pool, {3}, DataType::bfloat16)), 1e-5), ShapeError);
  EXPECT_THROW(rms_norm(tape, x, Variable(Tensor(pool, {1}, DataType::float32)), 1e-5), ShapeError);
  EXPECT_THROW(head_rms_norm(tape, x, Variable(Tensor(pool, {2}, DataType::float32)), 1e-5), ShapeError);
}

}  // namespace
}  // namespace palimpsest
