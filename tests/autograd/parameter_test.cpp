#include "autograd/parameter.h"

#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace palimpsest {
namespace {

class ParameterTest : public ::testing::Test {
 protected:
  Variable add(const std::string& name, ParameterRole role, DataType compute_type,
               DataType master = DataType::float32) {
    return list_.add(pool_, name, role, testing::normal_tensor(pool_, {3, 4}, master, 1), compute_type);
  }
  MemoryPool pool_;
  ParameterList list_;
};

TEST_F(ParameterTest, KeepsOrderAndFindsByName) {
  add("b", ParameterRole::matrix, DataType::float32);
  add("a", ParameterRole::norm, DataType::float32);
  EXPECT_EQ(list_.size(), 2u);
  EXPECT_EQ(list_.all()[0].name, "b");
  EXPECT_EQ(list_.find("a").role, ParameterRole::norm);
  EXPECT_EQ(list_.elements(), 24);
  EXPECT_THROW(list_.find("c"), ShapeError);
  EXPECT_THROW(add("a", ParameterRole::matrix, DataType::float32), ShapeError);
  EXPECT_EQ(list_.size(), 2u);
}

TEST_F(ParameterTest, MasterAndVariableAreOneInTheSameType) {
  const Variable variable = add("w", ParameterRole::matrix, DataType::float32);
  fill(list_.find("w").master, 7.0);
  list_.find("w").refresh();
  EXPECT_EQ(variable.value().to_doubles(), std::vector<double>(12, 7.0));
}

TEST_F(ParameterTest, MatricesGetABfloat16Copy) {
  const Variable matrix = add("w", ParameterRole::matrix, DataType::bfloat16);
  const Variable embedding = add("e", ParameterRole::embedding, DataType::bfloat16);
  const Variable norm = add("n", ParameterRole::norm, DataType::bfloat16);
  const Variable gate = add("g", ParameterRole::memory_gate, DataType::bfloat16);
  EXPECT_EQ(matrix.data_type(), DataType::bfloat16);
  EXPECT_EQ(embedding.data_type(), DataType::bfloat16);
  EXPECT_EQ(norm.data_type(), DataType::float32);
  EXPECT_EQ(gate.data_type(), DataType::float32);
  for (const Parameter& parameter : list_) EXPECT_EQ(parameter.variable.gradient_type(), DataType::float32);
  fill(list_.find("w").master, 7.0);
  EXPECT_NE(matrix.value().to_doubles()[0], 7.0);
  list_.find("w").refresh();
  EXPECT_EQ(matrix.value().to_doubles(), std::vector<double>(12, 7.0));
}

TEST_F(ParameterTest, ClearsAllGradients) {
  const Variable w = add("w", ParameterRole::matrix, DataType::float64, DataType::float64);
  w.add_gradient(pool_, w.value());
  list_.clear_gradients();
  EXPECT_FALSE(w.has_gradient());
}

}  // namespace
}  // namespace palimpsest
