#include "autograd/grad_check.h"

#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/feed_forward.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

class GradCheckTest : public ::testing::Test {
 protected:
  Variable leaf(std::uint64_t seed) {
    return Variable::leaf(testing::normal_tensor(pool_, {3, 4}, DataType::float64, seed));
  }
  /// x^2 with a gradient that is right, except that element 5 is off by a factor.
  Variable square(Tape& tape, const Variable& x, double factor) {
    Tensor squares = converted(pool_, x.value(), DataType::float64);
    for (double& element : squares.values<double>()) element *= element;
    const bool records = tape.records({x});
    const Variable y = Variable::result(squares, records);
    if (records) {
      tape.record({y}, [this, x, y, factor] {
        Tensor gradient = converted(pool_, y.gradient(), DataType::float64);
        for (std::int64_t i = 0; i < gradient.elements(); ++i) {
          gradient.data<double>()[i] *= 2 * x.value().data<double>()[i] * (i == 5 ? factor : 1.0);
        }
        x.add_gradient(pool_, gradient);
      });
    }
    return y;
  }
  MemoryPool pool_;
};

TEST_F(GradCheckTest, PassesARightGradient) {
  std::vector<Variable> leaves{leaf(1), leaf(2)};
  const auto before = leaves[0].value().to_doubles();
  const auto check = check_gradients(
      pool_,
      [&](Tape& tape) {
        return std::vector{square(tape, leaves[0], 1.0), swiglu(tape, leaves[0], leaves[1])};
      },
      leaves);
  EXPECT_LE(check.relative_error, 1e-8) << check.to_string();
  EXPECT_EQ(leaves[0].value().to_doubles(), before);
  EXPECT_FALSE(leaves[0].has_gradient());
}

TEST_F(GradCheckTest, FindsTheElementThatIsWrong) {
  std::vector<Variable> leaves{leaf(1), leaf(2)};
  const auto check = check_gradients(
      pool_,
      [&](Tape& tape) {
        return std::vector{square(tape, leaves[0], 1.0), square(tape, leaves[1], 1.001)};
      },
      leaves);
  EXPECT_NEAR(check.relative_error, 0.001, 1e-5);
  EXPECT_EQ(check.leaf, 1u);
  EXPECT_EQ(check.element, 5);
  EXPECT_NE(check.to_string().find("leaf 1, element 5"), std::string::npos);
}

TEST_F(GradCheckTest, FindsAMissingGradientAndNan) {
  std::vector<Variable> leaves{leaf(1)};
  // Detached: the value depends on the leaf, the gradient does not.
  const auto missing = check_gradients(
      pool_, [&](Tape& tape) { return std::vector{square(tape, leaves[0].detached(), 1.0)}; }, leaves);
  EXPECT_GE(missing.relative_error, 1.0);
  const auto nan = check_gradients(
      pool_, [&](Tape& tape) { return std::vector{square(tape, leaves[0], NAN)}; }, leaves);
  EXPECT_EQ(nan.relative_error, INFINITY);
}

TEST_F(GradCheckTest, MaySampleElements) {
  std::vector<Variable> leaves{leaf(1)};
  int evaluations = 0;
  const auto check = check_gradients(pool_,
                                     [&](Tape& tape) {
                                       ++evaluations;
                                       return std::vector{square(tape, leaves[0], 1.0)};
                                     },
                                     leaves, {.elements_per_leaf = 5});
  EXPECT_LE(check.relative_error, 1e-8);
  EXPECT_LE(evaluations, 1 + 2 * 5);
  EXPECT_GE(evaluations, 1 + 2 * 3);
}

TEST_F(GradCheckTest, WantsFloat64Leaves) {
  std::vector<Variable> narrow{Variable::leaf(Tensor(pool_, {2}, DataType::float32))};
  std::vector<Variable> constant{Variable(Tensor(pool_, {2}, DataType::float64))};
  const auto nothing = [](Tape&) { return std::vector<Variable>(); };
  EXPECT_THROW(check_gradients(pool_, nothing, narrow), ShapeError);
  EXPECT_THROW(check_gradients(pool_, nothing, constant), ShapeError);
}

}  // namespace
}  // namespace palimpsest
