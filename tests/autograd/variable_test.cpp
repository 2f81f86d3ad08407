#include "autograd/variable.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

class VariableTest : public ::testing::Test {
 protected:
  Tensor tensor(DataType type, const Values& values) {
    return Tensor::from_values(pool_, {static_cast<std::int64_t>(values.size())}, type, values);
  }
  MemoryPool pool_;
};

TEST_F(VariableTest, CopiesAreTheSameNode) {
  const Variable leaf = Variable::leaf(tensor(DataType::float32, {1, 2}));
  const Variable copy = leaf;
  copy.add_gradient(pool_, tensor(DataType::float32, {3, 4}));
  EXPECT_EQ(leaf.gradient().to_doubles(), (Values{3, 4}));
}

TEST_F(VariableTest, KnowsWhoWantsAGradient) {
  EXPECT_FALSE(Variable().requires_gradient());
  EXPECT_FALSE(Variable(tensor(DataType::float32, {1})).requires_gradient());
  const Variable leaf = Variable::leaf(tensor(DataType::bfloat16, {1}), DataType::float32);
  EXPECT_TRUE(leaf.requires_gradient());
  EXPECT_EQ(leaf.gradient_type(), DataType::float32);
  EXPECT_FALSE(leaf.detached().requires_gradient());
  EXPECT_EQ(leaf.detached().value().raw().data(), leaf.value().raw().data());
}

TEST_F(VariableTest, UndefinedOnesAreRefused) {
  EXPECT_FALSE(Variable().defined());
  EXPECT_THROW((void)Variable().value(), ShapeError);
  EXPECT_THROW((void)Variable().gradient_type(), ShapeError);
  EXPECT_FALSE(Variable().has_gradient());
}

TEST_F(VariableTest, TheFirstContributionIsKeptWithoutACopy) {
  const Variable leaf = Variable::leaf(tensor(DataType::float32, {1, 2}));
  const Tensor first = tensor(DataType::float32, {3, 4});
  leaf.add_gradient(pool_, first);
  EXPECT_EQ(leaf.gradient().raw().data(), first.raw().data());
}

TEST_F(VariableTest, ASharedGradientIsCopiedBeforeItChanges) {
  const Variable a = Variable::leaf(tensor(DataType::float32, {0, 0})),
                 b = Variable::leaf(tensor(DataType::float32, {0, 0}));
  {
    const Tensor shared = tensor(DataType::float32, {3, 4});
    a.add_gradient(pool_, shared);
    b.add_gradient(pool_, shared);
  }
  a.add_gradient(pool_, tensor(DataType::float32, {1, 1}));
  EXPECT_EQ(a.gradient().to_doubles(), (Values{4, 5}));
  EXPECT_EQ(b.gradient().to_doubles(), (Values{3, 4}));
  const auto [target, accumulate] = b.gradient_target(pool_);
  EXPECT_TRUE(accumulate);
  EXPECT_EQ(target.raw().data(), b.gradient().raw().data());  // b owns it alone by now
}

TEST_F(VariableTest, GradientsAccumulateInTheirOwnType) {
  const Variable leaf = Variable::leaf(tensor(DataType::bfloat16, {1}), DataType::float32);
  for (int i = 0; i < 300; ++i)
    leaf.add_gradient(pool_, tensor(DataType::bfloat16, {1}));  // bfloat16 would stop at 256
  EXPECT_EQ(leaf.gradient().data_type(), DataType::float32);
  EXPECT_EQ(leaf.gradient().to_doubles(), Values{300});
}

TEST_F(VariableTest, AnEmptyTargetHasToBeOverwritten) {
  const Variable leaf = Variable::leaf(tensor(DataType::float64, {1, 2}));
  const auto [target, accumulate] = leaf.gradient_target(pool_);
  EXPECT_FALSE(accumulate);
  EXPECT_TRUE((target.shape() == Shape{2}));
  EXPECT_EQ(target.data_type(), DataType::float64);
}

TEST_F(VariableTest, GradientsCanBeTakenAndCleared) {
  const Variable leaf = Variable::leaf(tensor(DataType::float32, {1}));
  leaf.add_gradient(pool_, tensor(DataType::float32, {3}));
  EXPECT_EQ(leaf.take_gradient().to_doubles(), Values{3});
  EXPECT_FALSE(leaf.has_gradient());
  leaf.add_gradient(pool_, tensor(DataType::float32, {3}));
  leaf.clear_gradient();
  EXPECT_FALSE(leaf.has_gradient());
}

TEST_F(VariableTest, RefusesAGradientOfAnotherShape) {
  const Variable leaf = Variable::leaf(tensor(DataType::float32, {1, 2}));
  EXPECT_THROW(leaf.add_gradient(pool_, tensor(DataType::float32, {1, 2, 3})), ShapeError);
}

TEST_F(VariableTest, ADiscardedValueIsMadeAgainWhenAskedFor) {
  const Variable kept = Variable::result(tensor(DataType::float32, {1, 2}), true);
  kept.discard();  // nobody can make it again
  EXPECT_EQ(kept.value().to_doubles(), (Values{1, 2}));

  int made = 0;
  const Variable value = Variable::result(tensor(DataType::float32, {1, 2}), true);
  value.set_rebuild([&] {
    ++made;
    return tensor(DataType::float32, {3, 4});
  });
  EXPECT_EQ(value.value().to_doubles(), (Values{1, 2}));
  value.discard();
  EXPECT_TRUE((value.shape() == Shape{2}));
  EXPECT_EQ(value.data_type(), DataType::float32);
  EXPECT_EQ(made, 0);
  EXPECT_EQ(value.value().to_doubles(), (Values{3, 4}));
  EXPECT_EQ(value.value().to_doubles(), (Values{3, 4}));
  EXPECT_EQ(made, 1);
}

}  // namespace
}  // namespace palimpsest
