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
}

}  // namespace
}  // namespace palimpsest
