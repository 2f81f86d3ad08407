#include "data/text/word_tokenizer.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

const std::string start = "<unk>\n<s>\n</s>\n";

TEST(WordTokenizer, WordsDigitsAndMarksAreTokens) {
  const WordTokenizer tokenizer(start + "pass\nkey\nis\n9\n0\n.\n");
  EXPECT_EQ(tokenizer.vocab_size(), 9);
  const std::vector<std::int32_t> tokens = tokenizer.encode(" pass key\n is 90. passkey ");
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{3, 4, 5, 6, 7, 8, 0}));
  EXPECT_EQ(tokenizer.decode(tokens), "pass key is 9 0. <unk>");
  EXPECT_EQ(tokenizer.decode({{1, 8, 3, 2}}), ". pass");
  TokenDecoder decoder(tokenizer);
  std::string text;
  for (const std::int32_t token : {1, 3, 6, 8, 2}) text += decoder.append(token);
  EXPECT_EQ(text + decoder.finish(), tokenizer.decode({{1, 3, 6, 8, 2}}));
  for (const std::int32_t token : {-1, 9}) EXPECT_THROW(tokenizer.decode({{token}}), DataError);
}

TEST(WordTokenizer, PasskeyKnowsItsPrompt) {
  const auto tokenizer = make_tokenizer("passkey");
  EXPECT_LE(tokenizer->vocab_size(), 80);
  const std::string text = "What is the pass key of Grace? The pass key is now Grace 9 0 5 4. Remember it.";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->encode("9054"), tokenizer->encode("9 0 5 4"));
}

TEST(WordTokenizer, IdentityAndModelMakeItAgain) {
  const auto tokenizer = make_tokenizer("passkey");
  const auto again = make_tokenizer(tokenizer->identity(), tokenizer->model());
  EXPECT_EQ(again->identity(), tokenizer->identity());
  EXPECT_EQ(again->encode("The grass is green."), tokenizer->encode("The grass is green."));
  EXPECT_TRUE(tokenizer->identity().starts_with("words:"));
  EXPECT_TRUE(
      holds(message_of<DataError>([&] { make_tokenizer(tokenizer->identity(), start + "other\n"); }), "is expected"));
}

TEST(WordTokenizer, RefusesWhatIsNoWordList) {
  const auto refusal = [](const std::string& list) {
    return message_of<DataError>([&] { WordTokenizer tokenizer(list); });
  };
  EXPECT_TRUE(holds(refusal(""), "expected <unk>, <s> and </s>"));
  EXPECT_TRUE(holds(refusal("<unk>\n</s>\n<s>\n"), "expected <unk>, <s> and </s>"));
  EXPECT_TRUE(holds(refusal(start + "a\n\nb\n"), "line 5: \"\" is no word"));
  EXPECT_TRUE(holds(refusal(start + "a b\n"), "line 4: \"a b\" is no word"));
  EXPECT_TRUE(holds(refusal(start + "a\na\n"), "line 5: \"a\" is there already"));
}

}  // namespace
}  // namespace palimpsest
