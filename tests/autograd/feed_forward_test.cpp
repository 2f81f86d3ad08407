#include "autograd/ops/feed_forward.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

TEST(Swiglu, IsProved) {
  MemoryPool pool;
  testing::check_operator(
      {.function = [](Tape& tape, auto in) { return swiglu(tape, in[0], in[1]); },
       .inputs = {testing::exact_tensor(pool, {4, 9}, 1, 2.0), testing::exact_tensor(pool, {4, 9}, 2)}});
  testing::check_operator({.function = [](Tape& tape, auto in) { return swiglu(tape, in[0], in[0]); },
                           .inputs = {testing::exact_tensor(pool, {4, 9}, 1)}});
}

TEST(Swiglu, GatesBySilu) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable gate(Tensor::from_values(pool, {2}, DataType::float64, std::vector<double>{1.5, -2}));
  const Variable up(Tensor::from_values(pool, {2}, DataType::float64, std::vector<double>{3, 5}));
  testing::expect_close(swiglu(tape, gate, up).value().to_doubles(),
                        {3 * 1.5 / (1 + std::exp(-1.5)), -10 / (1 + std::exp(2))}, 1e-15);
}

TEST(Swiglu, RefusesWhatDoesNotFit) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable gate(Tensor(pool, {2, 3}, DataType::float32));
  EXPECT_THROW(swiglu(tape, gate, Variable(Tensor(pool, {2, 4}, DataType::float32))), ShapeError);
  EXPECT_THROW(swiglu(tape, gate, Variable(Tensor(pool, {2, 3}, DataType::bfloat16))), ShapeError);
}

}  // namespace
}  // namespace palimpsest
