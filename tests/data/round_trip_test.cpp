#include "data/tokens/round_trip.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/text/word_tokenizer.h"

namespace palimpsest {
namespace {

TEST(RoundTrip, FindsTheFirstDifference) {
  EXPECT_EQ(first_difference("same", "same"), std::nullopt);
  EXPECT_EQ(first_difference("a\nbé", "a\nbè"), R"(byte 3 (line 2): "é" comes back as "è")");
  EXPECT_EQ(first_difference("ends", "end"), R"(byte 3 (line 1): "s" comes back as nothing)");
  EXPECT_EQ(first_difference("", "more"), R"(byte 0 (line 1): nothing comes back as "more")");
}

TEST(RoundTrip, FindsWhatDecodingFinds) {
  const ByteTokenizer bytes;
  const RoundTrip round_trip(bytes);
  const std::string text = "two\nlines é";
  std::vector<std::int32_t> tokens = bytes.encode(text);
  EXPECT_EQ(round_trip.difference(text, tokens), std::nullopt);
  EXPECT_EQ(round_trip.difference("", {}), std::nullopt);
  tokens[4] = 'L';
  EXPECT_EQ(round_trip.difference(text, tokens), first_difference(text, bytes.decode(tokens)));
  tokens.pop_back();
  tokens[4] = 'l';
  EXPECT_EQ(round_trip.difference(text, tokens), first_difference(text, bytes.decode(tokens)));
  tokens.push_back(0xA9);
  tokens.push_back('!');
  EXPECT_EQ(round_trip.difference(text, tokens), first_difference(text, text + "!"));
  tokens.back() = 258;
  EXPECT_THROW(round_trip.difference(text, tokens), DataError);
}

TEST(RoundTrip, MindsTheStartOfAText) {
  // Its words have a space before them, except where a text begins.
  const auto words = make_tokenizer("passkey");
  const RoundTrip round_trip(*words);
  const std::string text = "The grass is green.";
  EXPECT_EQ(round_trip.difference(text, words->encode(text)), std::nullopt);
  const std::string spaced = ' ' + text;
  EXPECT_EQ(round_trip.difference(spaced, words->encode(spaced)),
            first_difference(spaced, words->decode(words->encode(spaced))));
}

}  // namespace
}  // namespace palimpsest
