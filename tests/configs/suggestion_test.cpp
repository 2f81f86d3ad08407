// Which known name a misspelt one is taken for.
#include "configs/suggestion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace palimpsest {
namespace {

const std::vector<std::string_view> names = {"learning_rate", "steps", "seed", "beta1", "beta2", "memory_update"};

TEST(NearestNames, ComeInOrderOfTheirDistance) {
  const std::vector<std::string> known = {"up_proj", "gate_proj", "norm", "down_proj"};
  EXPECT_EQ(nearest_names("gate_prj", known, 2), (std::vector<std::string>{"gate_proj", "up_proj"}));
  EXPECT_EQ(nearest_names("x", known, 9).size(), 4u);
  EXPECT_EQ(nearest_names(std::string(1 << 20, 'x'), known, 1).size(), 1u);
}

TEST(NearestName, FindsTyposOfEveryKind) {
  EXPECT_EQ(nearest_name("learning_rat", names), "learning_rate");
  EXPECT_EQ(nearest_name("learning-rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("learningrate", names), "learning_rate");
  EXPECT_EQ(nearest_name("setps", names), "steps") << "neighbours swapped";
  EXPECT_EQ(nearest_name("sed", names), "seed");
  EXPECT_EQ(nearest_name("beta", names), "beta1") << "the first of two equally near";
}

TEST(NearestName, NothingIsNear) {
  EXPECT_EQ(nearest_name("optimizer", names), "");
  EXPECT_EQ(nearest_name("x", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("steps", {}), "");
  EXPECT_EQ(nearest_name(std::string(1 << 20, 's'), names), "");
}

}  // namespace
}  // namespace palimpsest
