#include <gtest/gtest.h>

#include "core/io/json_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

TEST(JsonFile, ReadsWhatIsSound) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "file", R"({"a": {"b": [1, {"a": 2}]}, "b": -0.1})");
  const auto json = parse_json(read_text_file(directory / "file"), "file");
  EXPECT_EQ(json.at("a").at("b").at(1).at("a"), 2);
  EXPECT_EQ(json.at("b"), -0.1);
}

TEST(JsonFile, RefusesDuplicatesDepthAndBrokenText) {
  EXPECT_EQ(message_of([] { parse_json(R"({"a": 1, "b": {"a": 1}, "a": 2})", "file"); }),
            "file: the key 'a' is given twice");
  EXPECT_EQ(message_of([] { parse_json(std::string(1'000'000, '['), "file"); }),
            "file: JSON nested deeper than 64 levels");
  EXPECT_TRUE(holds(message_of([] { parse_json(R"({"a": )", "file"); }), "file: not JSON at byte 7"));
  EXPECT_THROW(parse_json("", "file"), FileError);
  EXPECT_THROW(parse_json("{} {}", "file"), FileError);
}

TEST(JsonFile, RefusesWhatIsNoFileOrTooLong) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(holds(message_of([&] { read_text_file(directory / "none"); }), "no such file"));
  EXPECT_TRUE(holds(message_of([&] { read_text_file(directory.path()); }), "not a regular file"));
  EXPECT_TRUE(holds(message_of([&] { read_text_file(directory / std::string(300, 'x')); }), "File name too long"));
  overwrite_file(directory / "file", "12345");
  EXPECT_TRUE(holds(message_of([&] { read_text_file(directory / "file", 4); }), "5 bytes, expected at most 4"));
}

TEST(JsonFile, IsBounded) {
  EXPECT_EQ(message_of([] { parse_json("[1, 3.5e7904]", "file"); }).substr(0, 6), "file: ");
  std::string many = "[0";
  for (int i = 0; i < 4'000'000; ++i) many += ",0";
  EXPECT_TRUE(holds(message_of([&] { parse_json(many + "]", "file"); }), "file: JSON of more than 4000000 values"));
  const std::string key(100'000, 'k');
  EXPECT_LT(message_of([&] { parse_json("{\"" + key + "\":1,\"" + key + "\":2}", "file"); }).size(), 300u);
  EXPECT_LT(message_of([&] { parse_json("[\"" + key + "\x01\"]", "file"); }).size(), 600u);
}

}  // namespace
}  // namespace palimpsest
