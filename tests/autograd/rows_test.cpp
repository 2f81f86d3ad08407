// Concatenation, cutting and choice of rows.
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/memory.h"
#include "autograd/ops/rows.h"
#include "core/error.h"
#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

TEST(Rows, AreAppendedAndCutLaneByLane) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable first(Tensor::from_values(pool, {2, 1, 2}, DataType::float64, std::vector<double>{1, 2, 3, 4}));
  const Variable second(
      Tensor::from_values(pool, {2, 2, 2}, DataType::float64, std::vector<double>{5, 6, 7, 8, 9, 10, 11, 12}));
  const Variable all = append_rows(tape, first, second);
  EXPECT_EQ(all.value().to_doubles(), (std::vector<double>{1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11, 12}));
  EXPECT_EQ(last_rows(tape, all, 1).value().to_doubles(), (std::vector<double>{7, 8, 11, 12}));
  EXPECT_THROW(append_rows(tape, first, Variable(Tensor::zeros(pool, {2, 2, 3}, DataType::float64))), ShapeError);
  EXPECT_THROW(last_rows(tape, all, 4), ShapeError);
  EXPECT_EQ(rows_before(tape, second).value().to_doubles(), (std::vector<double>{0, 0, 5, 6, 0, 0, 9, 10}));
}

TEST(Rows, GradientsGoBackToWhereRowsCameFrom) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return append_rows(tape, in[0], in[1]); },
       .inputs = {testing::exact_tensor(pool, {2, 3, 5}, 1), testing::exact_tensor(pool, {2, 4, 5}, 2)}});
  testing::check_operator({.function = [](Tape& tape, auto in) { return last_rows(tape, in[0], 2); },
                           .inputs = {testing::exact_tensor(pool, {2, 3, 5}, 3)}});
  testing::check_operator({.function = [](Tape& tape, auto in) { return rows_before(tape, in[0]); },
                           .inputs = {testing::exact_tensor(pool, {2, 3, 5}, 3)}});
}

TEST(RepeatedHeads, ServeTheQueryHeadsOfTheirGroup) {
  MemoryPool pool;
  Tape tape(pool);
  const HeadCounts counts{.heads = 4, .kv_heads = 2, .head_size = 2};
  const Variable x(
      Tensor::from_values(pool, {1, 2, 4}, DataType::float64, std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(repeat_heads(tape, x, counts).value().to_doubles(),
            (std::vector<double>{1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8, 7, 8}));
  EXPECT_THROW(repeat_heads(tape, x, {4, 4, 2}), ShapeError);
  testing::check_operator({.function = [&](Tape& on, auto in) { return repeat_heads(on, in[0], counts); },
                           .inputs = {testing::exact_tensor(pool, {2, 3, 4}, 3)}});
}

const std::vector<RowPick> picks{{1, 2}, {0, 0}, {-1, 0}, {1, 0}, {0, 3}, {1, 2}};

TEST(Rows, ArePickedFromSeveralSources) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable first(
      Tensor::from_values(pool, {2, 2, 2}, DataType::float64, std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8}));
  const Variable second(
      Tensor::from_values(pool, {3, 2}, DataType::float64, std::vector<double>{9, 10, 11, 12, 13, 14}));
  const Variable taken = take_rows(tape, {first, second}, picks, 2);
  EXPECT_EQ(taken.shape(), (Shape{2, 3, 2}));
  EXPECT_EQ(taken.value().to_doubles(), (std::vector<double>{13, 14, 1, 2, 0, 0, 9, 10, 7, 8, 13, 14}));
}

TEST(Rows, PickedMoreThanOnceGetTheSumOfTheirGradients) {
  MemoryPool pool;
  testing::check_operator(
      {.function =
           [](Tape& tape, auto in) {
             return take_rows(tape, {in[0], in[1]}, picks, 2);
           },
       .inputs = {testing::exact_tensor(pool, {2, 2, 5}, 4), testing::exact_tensor(pool, {3, 5}, 5)},
       .is_parameter = [](std::size_t i) { return i == 1; }});
}

TEST(Rows, ThatAreNotThereAreRefused) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable rows(Tensor::zeros(pool, {1, 3, 2}, DataType::float64));
  const Variable wide(Tensor::zeros(pool, {1, 3, 4}, DataType::float64));
  const Variable narrow(Tensor::zeros(pool, {1, 3, 2}, DataType::float32));
  EXPECT_THROW(take_rows(tape, {rows}, {{0, 3}}, 1), ShapeError);
  EXPECT_THROW(take_rows(tape, {rows}, {{1, 0}}, 1), ShapeError);
  EXPECT_THROW(take_rows(tape, {rows, wide}, {{0, 0}}, 1), ShapeError);
  EXPECT_THROW(take_rows(tape, {rows, narrow}, {{0, 0}}, 1), ShapeError);
  EXPECT_THROW(take_rows(tape, {rows}, {{0, 0}, {0, 1}, {0, 2}}, 2), ShapeError);
  EXPECT_THROW(take_rows(tape, {}, {{-1, 0}}, 1), ShapeError);
}

/// What is carried is float32, and holds what was bfloat16 exactly.
TEST(Rows, AreKeptInAnotherType) {
  MemoryPool pool;
  const Variable carried =
      Variable::leaf(Tensor::from_values(pool, {1, 1, 2}, DataType::float32, std::vector<double>{0.5, -3}));
  const Variable own =
      Variable::leaf(Tensor::from_values(pool, {1, 2, 2}, DataType::bfloat16, std::vector<double>{1, 2, 3, 4}));
  Tape tape(pool);
  const Variable all = append_rows(tape, carried, own);
  EXPECT_EQ(all.data_type(), DataType::bfloat16);
  EXPECT_EQ(all.value().to_doubles(), (std::vector<double>{0.5, -3, 1, 2, 3, 4}));
  const Variable kept = last_rows(tape, all, 3, DataType::float32);
  EXPECT_EQ(kept.data_type(), DataType::float32);
  EXPECT_EQ(kept.value().to_doubles(), all.value().to_doubles());
  kept.add_gradient(pool,
                    Tensor::from_values(pool, {1, 3, 2}, DataType::float32, std::vector<double>{7, 8, 9, 10, 11, 12}));
  tape.backward_from_gradients();
  EXPECT_EQ(carried.gradient().data_type(), DataType::float32);
  EXPECT_EQ(carried.gradient().to_doubles(), (std::vector<double>{7, 8}));
  EXPECT_EQ(own.gradient().data_type(), DataType::bfloat16);
  EXPECT_EQ(own.gradient().to_doubles(), (std::vector<double>{9, 10, 11, 12}));
}

}  // namespace
}  // namespace palimpsest
