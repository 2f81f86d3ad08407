// Lists of sections, over a struct of this test.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "configs/schema_reader.h"
#include "configs/schema_writer.h"
#include "core/error.h"

namespace palimpsest {
namespace {

struct Source {
  std::string file;
  double weight = 1;
};

struct Mixture {
  std::vector<Source> sources;
  std::vector<std::string> names = {"none"};
  std::int64_t seed = 1;
};

void describe(Source& source, SchemaVisitor& visitor) {
  visitor.field("file", source.file, Text{}, "");
  visitor.field("weight", source.weight, positive(), "");
}

void describe(Mixture& mixture, SchemaVisitor& visitor) {
  visitor.list("sources", mixture.sources, "");
  visitor.texts("names", mixture.names, "");
  visitor.field("seed", mixture.seed, at_least<std::int64_t>(0), "");
}

Description root_of(Mixture& mixture) {
  return [&mixture](SchemaVisitor& visitor) { visitor.section("data", mixture, ""); };
}

Mixture parse(const std::string& text) {
  Mixture mixture{.sources = {{"default", 3}}};
  read_schema(read_yaml(text, "run.yaml"), "run.yaml", root_of(mixture));
  return mixture;
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
    return "accepted";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(SectionList, ItemsArriveInOrder) {
  const Mixture mixture = parse("data:\n  sources: [{file: a, weight: 2}, {file: b}]\n  seed: 5\n");
  ASSERT_EQ(mixture.sources.size(), 2u);
  EXPECT_EQ(mixture.sources[0].file, "a");
  EXPECT_EQ(mixture.sources[0].weight, 2);
  EXPECT_EQ(mixture.sources[1].file, "b");
  EXPECT_EQ(mixture.sources[1].weight, 1) << "keys left out have their defaults";
  EXPECT_EQ(mixture.seed, 5);
  EXPECT_EQ(parse("data:\n  sources:\n    - file: a\n      weight: 2\n    - file: b\n").sources.size(), 2u);
  EXPECT_EQ(parse("data: {sources: []}\n").sources.size(), 0u);
  EXPECT_EQ(parse("data:\n").sources.size(), 1u) << "a list left out is the default one";
}

TEST(TextList, HoldsAnyNumber) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(parse("data:\n").names, Names{"none"}) << "left out, it is the default one";
  EXPECT_EQ(parse("data: {names: []}\n").names, Names{});
  EXPECT_EQ(parse("data: {names: [\"*.a\", b]}\n").names, (Names{"*.a", "b"}));
  EXPECT_EQ(parse("data:\n  names:\n    - a\n    - b\n").names, (Names{"a", "b"}));
  EXPECT_EQ(parse("data: {names: a}\n").names, Names{"a"}) << "one needs no brackets";
  EXPECT_EQ(refusal("data: {names: [a, [b]]}\n"),
            "run.yaml:1:19: data.names is a list of texts: expected `[one, another]`");
  EXPECT_EQ(refusal("data: {names: {a: b}}\n"),
            "run.yaml:1:8: data.names is a list of texts: expected `[one, another]`");
  Mixture mixture{.sources = {}, .names = {"*.a", "with \"quotes\""}};
  EXPECT_EQ(parse(write_schema(root_of(mixture))).names, mixture.names);
  EXPECT_EQ(schema_values(root_of(mixture))[0].text, "[\"*.a\", \"with \\\"quotes\\\"\"]");
}

TEST(SectionList, Mistakes) {
  const std::string start = "data:\n  sources:\n    - file: a\n";
  EXPECT_EQ(refusal(start + "    - {file: b, wieght: 2}\n"),
            "run.yaml:4:17: data.sources[1].wieght is not a key; did you mean weight?");
  EXPECT_EQ(refusal(start + "      file: b\n"), "run.yaml:4:7: data.sources.file is already set in line 3");
  EXPECT_EQ(refusal(start + "      weight: 0\n"),
            "run.yaml:4:7: data.sources[0].weight must be greater than 0, found `0`");
  EXPECT_EQ(refusal(start + "      weight: [1]\n"),
            "run.yaml:4:7: data.sources[0].weight: expected a value, found a list");
  EXPECT_EQ(refusal(start + "    - b\n"),
            "run.yaml:4:7: data.sources[1] is a section: expected indented keys, found `b`");
  EXPECT_EQ(refusal(start + "    - [b]\n"),
            "run.yaml:4:7: data.sources[1] is a section: expected indented keys, found a list");
  const std::string no_list = "run.yaml:2:3: data.sources is a list of sections: expected `- key: value` or `[]`";
  for (const std::string value : {" a", " {file: a}", ""})
    EXPECT_EQ(refusal("data:\n  sources:" + value + "\n"), no_list);
  EXPECT_EQ(refusal("data:\n  sources: &a [*a]\n"), "run.yaml:2:12: anchors (&name) are not allowed");
  EXPECT_EQ(refusal("data:\n  sources: !!seq [{file: a}]\n"),
            "run.yaml:2:12: tags (tag:yaml.org,2002:seq) are not allowed");
  EXPECT_NE(
      refusal("data:\n  sources: " + std::string(1000, '[') + std::string(1000, ']')).find("is nested too deeply"),
      std::string::npos);
}

TEST(SectionList, IsWrittenSoThatItReadsBackEqual) {
  Mixture mixture{.sources = {{"a", 2}, {"- b: [", 0.1}}, .seed = 7};
  const std::string text = write_schema(root_of(mixture));
  EXPECT_EQ(text,
            "data:\n  sources:\n    - file: \"a\"\n      weight: 2\n    - file: \"- b: [\"\n      weight: 0.1\n"
            "  names: [\"none\"]\n  seed: 7\n");
  Mixture again = parse(text);
  EXPECT_EQ(write_schema(root_of(again)), text);
  EXPECT_EQ(schema_values(root_of(mixture))[2].name, "data.sources[1].file");
  mixture.sources.clear();
  EXPECT_EQ(write_schema(root_of(mixture)), "data:\n  sources: []\n  names: [\"none\"]\n  seed: 7\n");
}

}  // namespace
}  // namespace palimpsest
