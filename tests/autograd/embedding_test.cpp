#include "autograd/ops/embedding.h"

#include <gtest/gtest.h>

#include "tests/autograd/operator_test.h"

namespace palimpsest {
namespace {

const std::vector<std::int32_t> tokens{4, 0, 4, 2, 2, 4};

TEST(Embedding, IsProved) {
  MemoryPool pool;
  testing::check_operator({.function = [](Tape& tape, auto in) { return embedding(tape, in[0], tokens, 2, 3); },
                           .inputs = {testing::exact_tensor(pool, {5, 7}, 1)},
                           .is_parameter = [](std::size_t) { return true; }});
}

TEST(Embedding, LooksRowsUp) {
  MemoryPool pool;
  Tape tape(pool);
  const Tensor weight = testing::exact_tensor(pool, {5, 2}, 1);
  const Variable y = embedding(tape, Variable(weight), tokens, 2, 3);
  EXPECT_TRUE((y.shape() == Shape{2, 3, 2}));
  const auto table = weight.to_doubles(), rows = y.value().to_doubles();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(rows[2 * i], table[2 * static_cast<std::size_t>(tokens[i])]);
    EXPECT_EQ(rows[2 * i + 1], table[2 * static_cast<std::size_t>(tokens[i]) + 1]);
  }
}

TEST(Embedding, NoTokensGiveAZeroGradient) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable weight = Variable::leaf(testing::exact_tensor(pool, {5, 2}, 1));
  const Variable y = embedding(tape, weight, {}, 0, 3);
  y.add_gradient(pool, Tensor(pool, {0, 3, 2}, DataType::float64));
  tape.backward_from_gradients();
  EXPECT_EQ(weight.gradient().to_doubles(), std::vector<double>(10, 0.0));
}

TEST(Embedding, NamesATokenOutsideTheVocabulary) {
  MemoryPool pool;
  Tape tape(pool);
  const Variable weight(Tensor(pool, {5, 2}, DataType::float32));
  for (const std::int32_t bad : {5, -1}) {
    const std::vector<std::int32_t> list{0, 4, bad};
    try {
      embedding(tape, weight, list, 1, 3);
      FAIL() << "no error";
    } catch (const ShapeError& error) {
      const std::string expected = "token " + std::to_string(bad) + " at position 2";
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(embedding(tape, weight, tokens, 2, 4), ShapeError);
}

}  // namespace
}  // namespace palimpsest
