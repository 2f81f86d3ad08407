#include "core/tensor.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

class TensorTest : public ::testing::Test {
 protected:
  MemoryPool pool_;
};

TEST_F(TensorTest, HoldsValuesOfEveryType) {
  for (const DataType type : testing::all_types) {
    const Tensor tensor = Tensor::from_values(pool_, {2, 3}, type, Values{1, 2, 3, -4, 0.5, 6});
    EXPECT_EQ(tensor.data_type(), type);
    EXPECT_EQ(tensor.bytes(), 6 * size_of(type));
    EXPECT_EQ(tensor.to_doubles(), (Values{1, 2, 3, -4, 0.5, 6}));
  }
}

TEST_F(TensorTest, RefusesAnotherNumberOfValues) {
  EXPECT_THROW(Tensor::from_values(pool_, {2, 3}, DataType::float32, Values{1, 2}), ShapeError);
}

TEST_F(TensorTest, RefusesAnotherElementType) {
  Tensor tensor(pool_, {2}, DataType::float32);
  EXPECT_THROW(tensor.data<double>(), ShapeError);
  EXPECT_THROW(Tensor().data<float>(), ShapeError);
  EXPECT_FALSE(Tensor().defined());
}

TEST_F(TensorTest, RowsAreViews) {
  Tensor tensor = Tensor::from_values(pool_, {3, 2}, DataType::float32, Values{1, 2, 3, 4, 5, 6});
  Tensor view = tensor.rows(1, 3);
  EXPECT_EQ(view.to_doubles(), (Values{3, 4, 5, 6}));
  EXPECT_TRUE((view.shape() == Shape{2, 2}));
  fill(view, 9);
  EXPECT_EQ(tensor.to_doubles(), (Values{1, 2, 9, 9, 9, 9}));
  EXPECT_EQ(tensor.rows(3, 3).elements(), 0);
  EXPECT_THROW(tensor.rows(2, 4), ShapeError);
  EXPECT_THROW(tensor.rows(-1, 1), ShapeError);
  EXPECT_THROW(tensor.rows(2, 1), ShapeError);
  EXPECT_THROW(Tensor(pool_, Shape{}, DataType::float32).rows(0, 1), ShapeError);
}

TEST_F(TensorTest, ReshapesToAsManyElements) {
  const Tensor tensor = Tensor::from_values(pool_, {3, 2}, DataType::float64, Values{1, 2, 3, 4, 5, 6});
  EXPECT_TRUE((tensor.reshaped({2, 3}).shape() == Shape{2, 3}));
  EXPECT_EQ(tensor.reshaped({6}).to_doubles(), tensor.to_doubles());
  EXPECT_THROW(tensor.reshaped({5}), ShapeError);
}

TEST_F(TensorTest, KnowsWhetherItsStorageIsShared) {
  Tensor tensor(pool_, {4}, DataType::float32);
  EXPECT_TRUE(tensor.unique());
  {
    const Tensor view = tensor.rows(0, 1);
    EXPECT_FALSE(tensor.unique());
  }
  EXPECT_TRUE(tensor.unique());
}

TEST_F(TensorTest, CopiesBetweenAllTypes) {
  const Values values{1, -2.5, 0, 1024};
  for (const DataType from : testing::all_types) {
    const Tensor source = Tensor::from_values(pool_, {4}, from, values);
    for (const DataType to : testing::all_types) {
      const Tensor target = converted(pool_, source, to);
      EXPECT_EQ(target.data_type(), to);
      EXPECT_EQ(target.to_doubles(), values);
      EXPECT_NE(target.raw().data(), source.raw().data());
    }
  }
  Tensor other(pool_, {5}, DataType::float32);
  EXPECT_THROW(copy(converted(pool_, other.rows(0, 4), DataType::float32), other), ShapeError);
}

TEST_F(TensorTest, AddsInTheTargetsType) {
  // 2^24 + 1 is no float32: it appears only if the sum runs in float64.
  Tensor target = Tensor::from_values(pool_, {1}, DataType::float64, Values{16777216});
  add_into(target, Tensor::from_values(pool_, {1}, DataType::float32, Values{1}));
  EXPECT_EQ(target.to_doubles(), (Values{16777217}));
  Tensor narrow = Tensor::from_values(pool_, {2}, DataType::bfloat16, Values{1, 2});
  add_into(narrow, Tensor::from_values(pool_, {2}, DataType::float32, Values{0.5, -2}));
  EXPECT_EQ(narrow.to_doubles(), (Values{1.5, 0}));
  EXPECT_THROW(add_into(narrow, target), ShapeError);
}

TEST_F(TensorTest, LongArraysGoThroughTheParallelLoops) {
  constexpr std::int64_t count = 200001;
  Tensor a = Tensor::zeros(pool_, {count}, DataType::float32);
  Tensor b(pool_, {count}, DataType::bfloat16);
  fill(b, 2.0);
  add_into(a, b);
  add_into(a, b);
  copy(a, b);
  EXPECT_EQ(b.to_doubles(), Values(count, 4.0));
}

}  // namespace
}  // namespace palimpsest
