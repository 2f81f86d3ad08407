// Files of prompts, as text and as JSON lines, and what is refused.
#include "launch/inference/prompt_file.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

TEST(PromptFile, TextHasAPromptALine) {
  const std::vector<Prompt> prompts = parse_prompts("one\r\n\n  two \n \t\ncaf\u00e9", "p", false);
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].text, "one");
  EXPECT_EQ(prompts[1].text, "  two ");
  EXPECT_EQ(prompts[2].text, "caf\u00e9");
  EXPECT_EQ(prompts[2].id, 5);
  EXPECT_FALSE(prompts[0].seed || prompts[0].max_tokens);
  EXPECT_TRUE(parse_prompts("", "p", false).empty());
}

TEST(PromptFile, JsonLinesSayMore) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "p.jsonl",
                 R"({"prompt": "one\ntwo", "id": "a", "max_tokens": 0, "seed": 18446744073709551615})"
                 "\n\n"
                 R"({"prompt": "", "id": -3})");
  const std::vector<Prompt> prompts = read_prompts(directory / "p.jsonl");
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].text, "one\ntwo");
  EXPECT_EQ(prompts[0].id, "a");
  EXPECT_EQ(prompts[0].max_tokens, 0);
  EXPECT_EQ(prompts[0].seed, ~std::uint64_t{0});
  EXPECT_EQ(prompts[1].id, -3);
  overwrite_file(directory / "p.txt", "{\n");
  EXPECT_EQ(read_prompts(directory / "p.txt").front().text, "{");
}

TEST(PromptFile, WhatCannotBeIsRefusedWithItsLine) {
  const auto refusal = [](const std::string& line) {
    return message_of([&] {
      parse_prompts(R"({"prompt": "fine"})"
                    "\n" +
                        line,
                    "p.jsonl", true);
    });
  };
  for (const auto& [line, expected] : std::vector<std::pair<std::string, std::string>>{
           {"{", "not JSON"},
           {"3", "no JSON object"},
           {"{}", "\"prompt\" is missing"},
           {R"({"prompt": 3})", "\"prompt\" is 3"},
           {R"({"prompt": "", "sed": 3})", "no key \"sed\""},
           {R"({"prompt": "", "id": 1.5})", "\"id\" is 1.5"},
           {R"({"prompt": "", "seed": -1})", "\"seed\" is -1"},
           {R"({"prompt": "", "max_tokens": -1})", "\"max_tokens\" is -1"},
           {R"({"prompt": "", "max_tokens": 99999999999999})", "\"max_tokens\" is 99999999999999"},
           {R"({"prompt": "", "prompt": ""})", "given twice"},
           {"{\"prompt\": \"\xff\"}", "p.jsonl:2"}}) {
    EXPECT_TRUE(holds(refusal(line), "p.jsonl:2: ") && holds(refusal(line), expected)) << refusal(line);
  }
  EXPECT_TRUE(
      holds(message_of([] { parse_prompts("a\nb\xff", "p", false); }), "p:2: not UTF-8: byte 0xFF at offset 1"));
  EXPECT_TRUE(holds(message_of([] { read_prompts("/no/such"); }), "/no/such"));
}

}  // namespace
}  // namespace palimpsest
