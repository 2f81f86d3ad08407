#include "data/text/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/random.h"

namespace palimpsest {
namespace {

const std::string replacement = "\xEF\xBF\xBD";

TEST(FindInvalidUtf8, AcceptsEveryLengthOfCharacter) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(std::string("a\0b", 3)), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("é € 𝄞 \xEF\xBF\xBF \xF4\x8F\xBF\xBF"), std::nullopt);
}

TEST(FindInvalidUtf8, ReportsTheFirstBadByte) {
  const std::vector<std::pair<std::string, std::size_t>> cases = {
      {"\x80", 0},              // continuation alone
      {"abc\xE9t\xE9", 3},      // Latin-1
      {"ab\xC0\xAF", 2},        // overlong
      {"\xE0\x80\x80", 0},      // overlong
      {"ok\xED\xA0\x80", 2},    // surrogate
      {"\xF4\x90\x80\x80", 0},  // beyond U+10FFFF
      {"\xF8\x88\x80\x80\x80", 0},
      {"x\xFF", 1},
      {"é\xE2\x82", 2},  // ends inside a character
  };
  for (const auto& [text, offset] : cases) EXPECT_EQ(find_invalid_utf8(text), offset) << text;
}

TEST(CountWords, SplitsWherePythonDoes) {
  EXPECT_EQ(count_words(""), 0);
  EXPECT_EQ(count_words(" \n\t "), 0);
  EXPECT_EQ(count_words("It is a truth, universally\r\nacknowledged -- \f  isn't it?"), 9);
  EXPECT_EQ(count_words("a\x1C"
                        "b\x1D"
                        "c\x1E"
                        "d\x1F"
                        "e\x0B"
                        "f"),
            6);
  EXPECT_EQ(count_words("a\u0085b\u00A0c\u1680d\u2000e\u200Af\u2028g\u2029h\u202Fi\u205Fj\u3000k"), 11);
  // Zero width space, byte order mark, Mongolian vowel separator and word joiner do not separate.
  EXPECT_EQ(count_words("a\u200Bb\uFEFFc\u180Ed\u2060e"), 1);
}

TEST(CountWords, KnowsAllSeparators) {
  int separators = 0;
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) separators += is_word_separator(code_point);
  EXPECT_EQ(separators, 29);  // len([c for c in map(chr, range(0x110000)) if c.isspace()])
}

TEST(Utf8Stream, HoldsBackUnfinishedCharacters) {
  Utf8Stream stream;
  EXPECT_EQ(stream.append("a\xF0"), "a");
  EXPECT_EQ(stream.append("\x9D"), "");
  EXPECT_EQ(stream.append("\x84"), "");
  EXPECT_EQ(stream.append("\x9E\xC3"), "𝄞");
  EXPECT_EQ(stream.append("\xA9!"), "é!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, ReplacesWhatCannotBecomeACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.append("\xE2\x82"), "");
  EXPECT_EQ(stream.append("x"), replacement + replacement + "x");
  EXPECT_EQ(stream.append("\xFF\x80y"), replacement + replacement + "y");
  EXPECT_EQ(stream.append("\xE2\x82"), "");
  EXPECT_EQ(stream.finish(), replacement + replacement);
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.append("z"), "z");
}

TEST(Utf8Stream, GivesTheSameTextHoweverBytesAreCut) {
  const Random random(7, RandomPurpose::test);
  std::string bytes;
  // Mostly lead and continuation bytes, so that whole, broken and unfinished characters all occur.
  for (std::uint64_t i = 0; i < 4000; ++i)
    bytes += static_cast<char>(random.below(i, 3) == 0 ? i % 256 : 0x80 + random.below(i, 128));
  Utf8Stream whole;
  const std::string expected = whole.append(bytes) + whole.finish();
  EXPECT_EQ(find_invalid_utf8(expected), std::nullopt);
  Utf8Stream stream;
  std::string joined;
  for (std::size_t begin = 0, piece = 0; begin < bytes.size(); ++piece) {
    const std::size_t length = 1 + random.below(10'000 + piece, 5);
    const std::string complete = stream.append(std::string_view(bytes).substr(begin, length));
    EXPECT_EQ(find_invalid_utf8(complete), std::nullopt);
    joined += complete;
    begin += length;
  }
  EXPECT_EQ(joined + stream.finish(), expected);
}

}  // namespace
}  // namespace palimpsest
