// What --split means: data's token files, and the sets that are evaluated along with them.
#include "launch/inference/named_split.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

RunConfig example() {
  RunConfig config;
  config.data.train = "books/train.h5";
  config.data.validation = "books/validation.h5";
  config.evaluation.sets = {{"law", "law/validation.h5"}, {"test", "law/test.h5"}};
  return config;
}

std::string refusal(const RunConfig& config, const std::string& name) {
  try {
    find_split(config, name, "do that");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(NamedSplit, IsOneOfDataOrOneOfTheSets) {
  const RunConfig config = example();
  EXPECT_EQ(find_split(config, "train", "").file, "books/train.h5");
  EXPECT_EQ(find_split(config, "validation", "").file, "books/validation.h5");
  EXPECT_EQ(find_split(config, "validation", "").set, "");
  EXPECT_EQ(find_split(config, "law", "").file, "law/validation.h5");
  EXPECT_EQ(find_split(config, "law", "").set, "law");
  EXPECT_EQ(find_split(config, "test", "").file, "law/test.h5");
}

TEST(NamedSplit, SaysWhatThereIsInstead) {
  RunConfig config = example();
  EXPECT_EQ(
      refusal(config, "dev"),
      "--split is 'dev', expected train, validation, test or one of evaluation.sets, which are law, test: do that");
  config.data.test = "books/test.h5";
  EXPECT_EQ(refusal(config, "test"),
            "--split test: is data.test, and one of evaluation.sets is called so, too: do that");
  config.evaluation.sets.clear();
  EXPECT_NE(refusal(config, "law").find("of which there are none"), std::string::npos) << refusal(config, "law");
  config.data.validation.clear();
  EXPECT_EQ(refusal(config, "validation"), "the configuration has no data.validation: do that");
  config.data.train.clear();
  config.data.mixture.resize(2);
  EXPECT_EQ(refusal(config, "train"), "data.train is a mixture: do that");
}

}  // namespace
}  // namespace palimpsest
