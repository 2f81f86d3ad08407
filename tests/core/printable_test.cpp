#include "core/printable.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(Printable, ControlCharactersAreSpelt) {
  EXPECT_EQ(printable("a key, ü"), "a key, ü");
  EXPECT_EQ(printable(std::string_view("a\0b\n\t\x1b[31m\x7f", 11)), "a\\x00b\\x0A\\x09\\x1B[31m\\x7F");
  EXPECT_EQ(printable_lines("one\ntwo\x1b", 100), "one\ntwo\\x1B");
}

TEST(Printable, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(printable("12345", 5), "12345");
  EXPECT_EQ(printable("123456", 5), "12345...");
  EXPECT_EQ(printable("1234ü6", 5), "1234...");
  EXPECT_EQ(printable(std::string(1000, '\x01'), 2), "\\x01\\x01...");
  EXPECT_EQ(printable("\x80\x80\x80", 2), "...");
}

}  // namespace
}  // namespace palimpsest
