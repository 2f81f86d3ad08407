// Where sentences end, and where they do not.
#include "data/text/sentences.h"

#include <gtest/gtest.h>

namespace palimpsest {

namespace {

using Sentences = std::vector<std::string>;

TEST(Sentences, EndAtPointsAndEmptyLines) {
  EXPECT_EQ(sentences_of("The sea was calm.  Was it? It was, at 3.5 knots!\n"),
            (Sentences{"The sea was calm.", "Was it?", "It was, at 3.5 knots!"}));
  EXPECT_EQ(sentences_of("CHAPTER I\r\n \r\nA whale, seen\r\nfrom afar, e.g. by Ahab,\n\n\nsank"),
            (Sentences{"CHAPTER I", "A whale, seen from afar, e.g. by Ahab,", "sank"}));
  EXPECT_EQ(sentences_of("\"Who?\" he asked. Été après été。海は静か。だった"),
            (Sentences{"\"Who?\"", "he asked.", "Été après été。", "海は静か。", "だった"}));
}

TEST(Sentences, LongOnesAreCutBetweenWords) {
  EXPECT_EQ(parts_of("a short one", 11), (Sentences{"a short one"}));
  EXPECT_EQ(parts_of("one two three four five", 11), (Sentences{"one two", "three", "four five"}));
  EXPECT_EQ(parts_of("un ééééé", 5), (Sentences{"un", "éé", "éé", "é"}));
  EXPECT_EQ(parts_of("海は静か", 4), (Sentences{"海", "は", "静", "か"}));
  EXPECT_EQ(parts_of("", 4), (Sentences{""}));
}

TEST(Sentences, AreNoneInNothing) {
  EXPECT_TRUE(sentences_of("").empty());
  EXPECT_TRUE(sentences_of(" \n\n\t\r\n").empty());
}

}  // namespace

}  // namespace palimpsest
