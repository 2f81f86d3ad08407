// The first tensor that is not finite is named.
#include "launch/training/not_finite.h"

#include <limits>

#include <gtest/gtest.h>

#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

TEST(NotFinite, NamesParameterMemoryAndGradientInThatOrder) {
  MemoryPool pool;
  const auto model = tiny_model(pool);
  std::vector<SequenceState> memories = {model->empty_state(pool, 2), model->empty_state(pool, 2)};
  const auto first = [&] { return first_not_finite(model->parameters(), memories, 4); };
  EXPECT_EQ(first(), "");

  auto parameter = model->parameters().begin();
  ++parameter;
  auto [gradient, accumulate] = parameter->variable.gradient_target(pool);
  fill(gradient, 0.0);
  EXPECT_EQ(first(), "");
  gradient.values<float>().back() = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first(), "the gradient of " + parameter->name);

  Tensor matrix = memories[1].layers[1][0].tensor;
  matrix.values<float>().back() = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first(), "the memory of lane 7, layers.1.matrix");

  parameter->master.values<float>().front() = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first(), parameter->name);
}

}  // namespace
}  // namespace palimpsest
