#include <tuple>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/state_dictionary.h"

namespace palimpsest {
namespace {

TEST(StateDictionary, KeepsOrderAndSharesTensors) {
  MemoryPool pool;
  Tensor tensor = Tensor::zeros(pool, Shape{2}, DataType::float32);
  StateDictionary state;
  state.add("z", tensor);
  state.add("a", Tensor::zeros(pool, Shape{3}, DataType::float64));
  StateDictionary outer;
  outer.add_all("model", state);
  ASSERT_EQ(outer.size(), 2u);
  EXPECT_EQ(outer.entries()[0].name, "model/z");
  EXPECT_EQ(outer.entries()[1].name, "model/a");
  EXPECT_EQ(outer.bytes(), 2u * 4 + 3 * 8);
  tensor.values<float>()[1] = 5;
  EXPECT_EQ(outer.at("model/z").values<float>()[1], 5);
  EXPECT_TRUE(outer.contains("model/a"));
  EXPECT_FALSE(outer.contains("a"));
  EXPECT_THROW(outer.at("a"), ShapeError);
}

TEST(StateDictionary, RefusesWhatCannotBeStored) {
  MemoryPool pool;
  const Tensor tensor = Tensor::zeros(pool, Shape{2}, DataType::float32);
  StateDictionary state;
  state.add("layers.0/weight", tensor);
  EXPECT_THROW(state.add("layers.0/weight", tensor), ShapeError);
  EXPECT_THROW(state.add("undefined", Tensor()), ShapeError);
  for (const char* name : {"", "/", "/a", "a/", "a//b", ".", "a/..", "../a"}) {
    EXPECT_THROW(state.add(name, tensor), ShapeError) << name;
  }
  EXPECT_EQ(state.size(), 1u);
  EXPECT_THROW(state.add_slice("slice", Shape{3}, 2, tensor), ShapeError);
  EXPECT_THROW(state.add_slice("slice", Shape{3}, -1, tensor), ShapeError);
  EXPECT_THROW(state.add_slice("slice", Shape{1}, 0, tensor), ShapeError);
}

TEST(StateDictionary, HoldsSharesOfTensors) {
  MemoryPool pool;
  const std::vector<double> values = {0, 1, 2, 3, 4, 5};
  Tensor tensor = Tensor::from_values(pool, Shape{2, 3}, DataType::float32, values);
  StateDictionary state;
  state.add("whole", tensor);
  state.add_slice("share", Shape{4, 3}, 3, tensor);
  state.add_slice("all", Shape{6}, 0, tensor);
  const auto& [whole, share, all] = std::tie(state.entries()[0], state.entries()[1], state.entries()[2]);
  EXPECT_TRUE(whole.whole());
  EXPECT_FALSE(share.whole());
  EXPECT_TRUE(all.whole());
  EXPECT_EQ(all.tensor.shape(), Shape{6});
  EXPECT_EQ(share.end(), 9);
  EXPECT_EQ(share.tensor.shape(), Shape{6});
  const StateDictionary::Entry part = share.slice(4, 7);
  EXPECT_EQ(part.begin, 4);
  EXPECT_EQ(part.shape, (Shape{4, 3}));
  EXPECT_EQ(part.tensor.to_doubles(), (std::vector<double>{1, 2, 3}));

  const StateDictionary copies = copy_of(state, pool);
  tensor.values<float>()[1] = 9;
  EXPECT_EQ(part.tensor.to_doubles()[0], 9);
  EXPECT_EQ(copies.at("share").to_doubles(), values);
  EXPECT_EQ(copies.entries()[1].begin, 3);
}

}  // namespace
}  // namespace palimpsest
