// Byte-level BPE from a tokenizer.json made up here: 256 bytes, some merges and added tokens.
#include "data/text/byte_pair_tokenizer.h"

#include <gtest/gtest.h>
#include <utf8.h>

#include <iterator>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

using Tokens = std::vector<std::int32_t>;

/// A code point of two bytes or less in UTF-8.
std::string utf8_of(int code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3F))};
}

/// As vocabularies spell a byte.
std::string spelling(int byte) {
  int others = 0;
  for (int other = 0; other <= byte; ++other) {
    const bool prints = (other >= 0x21 && other <= 0x7E) || (other >= 0xA1 && other != 0xAD);
    if (prints && other == byte) return utf8_of(byte);
    others += prints ? 0 : 1;
  }
  return utf8_of(255 + others);
}

/// Bytes are their own ids, then the results of merges, then added tokens.
nlohmann::json description() {
  nlohmann::json vocabulary = nlohmann::json::object(), merges = nlohmann::json::array();
  for (int byte = 0; byte < 256; ++byte) vocabulary[spelling(byte)] = byte;
  const std::string space = spelling(' ');
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"b", "c"}, {"a", "b"}, {"a", "bc"}, {space, "a"}, {"a", "a"}, {spelling(0xC3), spelling(0xA9)}}) {
    merges.push_back(std::string(left).append(" ").append(right));
    vocabulary[left + right] = 255 + static_cast<int>(merges.size());  // 256 bc, 257 ab, 258 abc, 259 _a, 260 aa, 261 é
  }
  vocabulary["xyz"] = 262;  // that no merge leads to
  const auto added = [](const std::string& content, int id, bool special) {
    return nlohmann::json{{"content", content}, {"id", id},        {"special", special},  {"normalized", !special},
                          {"lstrip", false},    {"rstrip", false}, {"single_word", false}};
  };
  return {{"added_tokens",
           {added("<s>", 263, true), added("</s>", 264, true), added("<s>>", 265, true), added("é!", 266, false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
}

std::string model_of(const nlohmann::json& json) { return "{\"begin\": \"<s>\", \"end\": \"</s>\"}\n" + json.dump(); }
BytePairTokenizer tokenizer_of(const nlohmann::json& json = description()) {
  return {model_of(json), "tokenizer.json"};
}

std::string refusal(const nlohmann::json& json) {
  return message_of([&] { tokenizer_of(json); });
}

TEST(BytePairTokenizer, MergesInTheOrderOfTheList) {
  const BytePairTokenizer tokenizer = tokenizer_of();
  EXPECT_EQ(tokenizer.encode(""), Tokens{});
  EXPECT_EQ(tokenizer.encode("abc"), Tokens{258});  // bc, then a + bc: "a b" comes after "b c"
  EXPECT_EQ(tokenizer.encode("abd"), (Tokens{257, 'd'}));
  EXPECT_EQ(tokenizer.encode("aaaaa"), (Tokens{260, 260, 'a'}));  // from the left
  EXPECT_EQ(tokenizer.encode("b c"), (Tokens{'b', ' ', 'c'}));    // never across pieces
  EXPECT_EQ(tokenizer.encode("d a"), (Tokens{'d', 259}));
  EXPECT_EQ(tokenizer.encode("é\n"), (Tokens{261, '\n'}));
  EXPECT_EQ(tokenizer.vocab_size(), 267);
  EXPECT_EQ(tokenizer.begin_id(), 263);
  EXPECT_EQ(tokenizer.end_id(), 264);
  EXPECT_EQ(tokenizer.unknown_id(), -1);
}

TEST(BytePairTokenizer, SpellsEveryTextAndBack) {
  const BytePairTokenizer tokenizer = tokenizer_of();
  for (const std::string text :
       {"abc  aé\t\r\n 12345 don't 漢字 \xF0\x9D\x84\x9E", " ", "\n\n\n", "xyz", "bc<s>bc</s><s>>é!"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    TokenDecoder decoder(tokenizer);
    std::string streamed;
    for (const std::int32_t token : tokenizer.encode(text)) streamed += decoder.append(token);
    EXPECT_EQ(streamed + decoder.finish(), text);
  }
  // As the WHATWG has it: a sequence that breaks off is one character, any other byte of its own.
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xE6\xBC"
                                              "b\xFF\xC0\xAF")),
            "a\uFFFDb\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\xF0\x9F\x98")), "\uFFFD");
}

TEST(BytePairTokenizer, SpellsEveryCharacterAndBack) {
  const BytePairTokenizer tokenizer = tokenizer_of();
  std::string block;
  for (std::uint32_t character = 0; character < 0x110000; ++character) {
    if (character >= 0xD800 && character < 0xE000) continue;
    std::string alone;
    utf8::append(static_cast<char32_t>(character), std::back_inserter(alone));
    if (character < 0x3000) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(alone)), alone);
    }
    block += alone + " \n"[character % 2];
    if (character % 0x4000 != 0x3FFF) continue;
    EXPECT_TRUE(tokenizer.decode(tokenizer.encode(block)) == block) << "up to " << character;
    block.clear();
  }
}

TEST(BytePairTokenizer, TextMakesSpecialTokensOnlyWhereAsked) {
  const BytePairTokenizer tokenizer = tokenizer_of();
  EXPECT_EQ(tokenizer.encode("c<s>"), (Tokens{'c', '<', 's', '>'}));
  EXPECT_EQ(tokenizer.encode("é!"), Tokens{266});  // is not special
  const auto asked = with_special_tokens(std::make_unique<BytePairTokenizer>(tokenizer_of()));
  EXPECT_EQ(asked->encode("bc<s>bc</s>é!"), (Tokens{256, 263, 256, 264, 266}));
  EXPECT_EQ(asked->encode("<s>>"), Tokens{265});  // the longest
  EXPECT_EQ(asked->encode("<s"), (Tokens{'<', 's'}));
  EXPECT_EQ(asked->identity(), tokenizer.identity());
  EXPECT_EQ(tokenizer.decode(Tokens{263, 'a', 264, 266}), "aé!");  // marks of documents are no text
  EXPECT_THROW(tokenizer.decode(Tokens{267}), DataError);
  EXPECT_THROW(tokenizer.decode(Tokens{-1}), DataError);
  EXPECT_THROW(with_special_tokens(std::make_unique<ByteTokenizer>()), ConfigError);
}

TEST(BytePairTokenizer, SpecialTokensCannotBeWrittenByOtherMeans) {
  nlohmann::json json = description();
  json["added_tokens"].push_back({{"content", "xyz"}, {"id", 262}, {"special", true}});
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(tokenizer_of(json).encode("xyz"), (Tokens{'x', 'y', 'z'}));
  BytePairTokenizer asked = tokenizer_of(json);
  asked.reads_special = true;
  EXPECT_EQ(asked.encode("xyz"), Tokens{262});
  // What begins and ends a document is special, whatever the file says.
  json["added_tokens"][0]["special"] = false;
  EXPECT_EQ(tokenizer_of(json).encode("<s>").size(), 3u);
  json["added_tokens"].push_back({{"content", "abc"}, {"id", 258}, {"special", true}});
  EXPECT_TRUE(holds(refusal(json), "the special token 'abc' is a byte or what a merge makes"));
  json["added_tokens"].back() = {{"content", "a"}, {"id", 'a'}, {"special", true}};
  EXPECT_TRUE(holds(refusal(json), "the special token 'a' is a byte or what a merge makes"));
}

TEST(BytePairTokenizer, AddedTokensOfTheVocabularyAreSpeltAsTheyAre) {
  nlohmann::json json = description();
  json["model"]["vocab"]["<é>"] = 267;  // in the alphabet of bytes that would be another text
  json["added_tokens"].push_back({{"content", "<é>"}, {"id", 267}, {"special", false}});
  EXPECT_EQ(tokenizer_of(json).encode("<é>"), Tokens{267});
  EXPECT_EQ(tokenizer_of(json).decode(Tokens{267}), "<é>");
  json["added_tokens"].back()["id"] = 268;
  EXPECT_TRUE(holds(refusal(json), "the added token '<é>' has the id 268 and in the vocabulary 267"));
}

TEST(BytePairTokenizer, ComposesBeforeItLooksForNormalizedTokens) {
  nlohmann::json json = description();
  EXPECT_EQ(tokenizer_of(json).encode("e\u0301!").front(), 'e');
  json["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(tokenizer_of(json).encode("e\u0301!"), Tokens{266});
  EXPECT_EQ(tokenizer_of(json).encode("e\u0301"), Tokens{261});
  json["added_tokens"].back()["content"] = "e\u0301!";
  EXPECT_TRUE(holds(refusal(json), "is looked for in normal form C, which it is not in"));
}

TEST(BytePairTokenizer, WholePiecesFirst) {
  nlohmann::json json = description();
  EXPECT_EQ(tokenizer_of(json).encode("xyz"), (Tokens{'x', 'y', 'z'}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(tokenizer_of(json).encode("xyz"), Tokens{262});
}

TEST(BytePairTokenizer, RulesCutOneAfterTheOther) {
  nlohmann::json json = description();
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", R"(\s+)"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "Digits"}, {"individual_digits", true}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  json["model"]["vocab"]["12"] = 267;
  json["model"]["merges"].push_back("1 2");
  EXPECT_EQ(tokenizer_of(json).encode("12"), (Tokens{'1', '2'}));
  EXPECT_EQ(tokenizer_of(json).encode(" abc"), (Tokens{' ', 258}));
  json["model"]["vocab"][spelling(0x85) + spelling(0x0B)] = 268;
  json["model"]["merges"].push_back(nlohmann::json::array({spelling(0x85), spelling(0x0B)}));
  EXPECT_EQ(tokenizer_of(json).encode("\u0085\u000B"), (Tokens{0xC2, 268}));  // one piece: both are white space
  json["pre_tokenizer"]["pretokenizers"].erase(1);
  EXPECT_EQ(tokenizer_of(json).encode("12"), Tokens{267});
  // Removed and inverted: what does not match is gone.
  json["pre_tokenizer"]["pretokenizers"][0] = {
      {"type", "Split"}, {"pattern", {{"Regex", "[a-c]+"}}}, {"behavior", "Removed"}, {"invert", true}};
  EXPECT_EQ(tokenizer_of(json).encode("12abc,a"), (Tokens{258, 'a'}));
}

TEST(BytePairTokenizer, PatternsAreThoseThatTwoLibrariesAgreeOn) {
  const auto with = [](const std::string& pattern) {
    nlohmann::json json = description();
    json["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    return json;
  };
  EXPECT_TRUE(holds(refusal(with("([")), "'([' is no regular expression"));
  for (const std::string pattern :
       {R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s+(?!\S)|\s+)",
        R"([.^$\-]\.|\[+)", R"([[a-c]\p{Lu}]+|(?<=a)b)"}) {
    EXPECT_NO_THROW(tokenizer_of(with(pattern))) << pattern;
  }
  const std::vector<std::pair<std::string, std::string>> others = {
      {R"(a|.+)", "'.'"},          {R"(^a)", "'^'"},       {R"(a$)", "'$'"},
      {R"(\w+)", R"('\w')"},       {R"([\h])", R"('\h')"}, {R"((a)\1)", R"('\1')"},
      {R"(\d{1,3}+)", "'{1,3}+'"}, {R"((?m:a))", "'(?m'"}, {R"([a--b])", "'--'"}};
  for (const auto& [pattern, what] : others) {
    EXPECT_TRUE(holds(refusal(with(pattern)), "has " + what + ", which is not supported")) << refusal(with(pattern));
  }
}

TEST(BytePairTokenizer, IsLoadedWithTheTokensThatPartDocuments) {
  const TemporaryDirectory directory;
  const auto path = directory / "tokenizer.json", config = directory / "tokenizer_config.json";
  overwrite_file(path, description().dump());
  EXPECT_TRUE(holds(message_of([&] { make_tokenizer(path.string()); }), "tokenizer_config.json: no such file"));
  overwrite_file(config, R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
  const auto tokenizer = make_tokenizer(path.string());
  EXPECT_EQ(tokenizer->begin_id(), 263);
  EXPECT_EQ(tokenizer->end_id(), 264);
  EXPECT_EQ(make_tokenizer(tokenizer->identity(), tokenizer->model())->encode("abc"), Tokens{258});
  EXPECT_THROW(make_tokenizer("byte_pair:0", tokenizer->model()), DataError);
  overwrite_file(config, R"({"bos_token": null, "eos_token": "</s>"})");
  EXPECT_EQ(make_tokenizer(path.string())->begin_id(), 264);
  overwrite_file(config, R"({"bos_token": null})");
  EXPECT_TRUE(holds(message_of([&] { make_tokenizer(path.string()); }), "has neither bos_token nor eos_token"));
  overwrite_file(config, R"({"eos_token": "nowhere"})");
  EXPECT_TRUE(holds(message_of([&] { make_tokenizer(path.string()); }), "'nowhere', which parts documents, is no"));
}

TEST(BytePairTokenizer, RefusesByNameWhatWouldChangeTheTokens) {
  const auto changed = [](const auto& change) {
    nlohmann::json json = description();
    change(json);
    return refusal(json);
  };
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["type"] = "Unigram"; }), "\"type\" is \"Unigram\""));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["byte_fallback"] = true; }), "\"byte_fallback\" is true"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["dropout"] = 0.1; }), "\"dropout\" is 0.1"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["vocab"].erase("a"); }), "has no token for the byte 97"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["vocab"]["q"] = 5; }), "have the id 5"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["vocab"]["q"] = -5; }), "has the id -5"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["vocab"]["q"] = 1 << 20; }), "has the id 1048576"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["merges"].push_back("q r"); }), "does not join two tokens"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["model"]["merges"].push_back(3); }), "does not join two tokens"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["normalizer"] = {{"type", "Lowercase"}}; }), "\"normalizer\" is"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }), "\"add_prefix_space\""));
  EXPECT_TRUE(holds(changed([](auto& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; }), "\"pre_tokenizer\" is"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["pre_tokenizer"] = {{"type", "Digits"}}; }), "has no ByteLevel"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["added_tokens"][0]["lstrip"] = true; }), "\"lstrip\" of the added token"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["added_tokens"][0]["content"] = ""; }), "an added token is empty"));
  EXPECT_TRUE(holds(changed([](auto& j) { j["decoder"] = {{"type", "WordPiece"}}; }), "\"decoder\" is {"));
  EXPECT_TRUE(holds(message_of([] { BytePairTokenizer("no line", "x"); }), "x: "));
}

}  // namespace
}  // namespace palimpsest
