#include "data/text/hash_split.h"

#include <map>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

TEST(HashSplit, SharesFilesByTheirNames) {
  const HashSplit split = parse_hash_split("hash:90/5/5");
  std::vector<CorpusFile> files;
  for (int i = 0; i < 4000; ++i) files.push_back({"", std::to_string(i)});
  std::map<std::string, std::size_t> sizes;
  for (const std::string& name : split.splits()) sizes[name] = split.select(files, name).size();
  EXPECT_EQ(sizes["train"] + sizes["validation"] + sizes["test"], files.size());
  EXPECT_NEAR(static_cast<double>(sizes["validation"]), 200, 60);
  EXPECT_NEAR(static_cast<double>(sizes["test"]), 200, 60);
  // Whatever else is there.
  files.resize(100);
  for (const CorpusFile& file : split.select(files, "test")) EXPECT_EQ(split.split_of(file.name), "test");
}

TEST(HashSplit, IsWhatTheDocumentationSays) {
  // printf %s NAME | xxhsum -H2: its first 16 digits modulo 100.
  const HashSplit split = parse_hash_split("hash:98/1/1");
  const std::map<std::string, std::string> known = {
      {"book-0", "train"},       {"book-1", "train"},        {"book-2", "train"},
      {"book-15", "test"},       {"book-346", "test"},       {"book-352", "test"},
      {"book-21", "validation"}, {"book-369", "validation"}, {"book-460", "validation"}};
  for (const auto& [name, expected] : known) EXPECT_EQ(split.split_of(name), expected) << name;
}

TEST(HashSplit, LeavesOutSplitsWithoutAShare) {
  EXPECT_EQ(parse_hash_split("hash:9/0/1").splits(), (std::vector<std::string>{"train", "test"}));
  EXPECT_EQ(parse_hash_split("hash:1/0/0").split_of("anything"), "train");
}

TEST(HashSplit, RefusesOtherRules) {
  for (const char* rule : {"", "hash", "hash:", "hash:98/1", "hash:98/1/1/1", "hash:0/0/0", "hash:-1/1/1", "hash:a/b/c",
                           "hash:98/1/1 ", "hash:1000001/1/1", "hash:98,1,1", "size:98/1/1"}) {
    EXPECT_TRUE(holds(message_of<ConfigError>([&] { parse_hash_split(rule); }), "like hash:98/1/1")) << rule;
  }
}

}  // namespace
}  // namespace palimpsest
