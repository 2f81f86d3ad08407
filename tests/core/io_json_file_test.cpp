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
  overwrite_file(directory / "file", "12345");
  EXPECT_TRUE(holds(message_of([&] { read_text_file(directory / "file", 4); }), "5 bytes, expected at most 4"));
}

}  // namespace
}  // namespace palimpsest
