// Stop strings in texts that come in any pieces.
#include "launch/inference/stop_strings.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(StopStrings, TheFirstOneEndsTheTextHoweverItComes) {
  const std::string text = "one two END three STOP";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    StopStrings stops({"STOP", "END"});
    std::string passed;
    for (std::size_t at = 0; at < text.size() && !stops.found(); at += piece) {
      passed += stops.append(text.substr(at, piece));
    }
    EXPECT_TRUE(stops.found());
    EXPECT_EQ(passed, "one two ") << "pieces of " << piece;
    EXPECT_EQ(stops.held(), "");
  }
}

TEST(StopStrings, OnlyWhatMayBecomeOneWaits) {
  StopStrings stops({"abab!", "b?"});
  EXPECT_EQ(stops.append("xab"), "x");
  EXPECT_EQ(stops.held(), "ab");
  EXPECT_EQ(stops.append("abab"), "ab");  // "xababab": the last four may begin "abab!"
  EXPECT_EQ(stops.append("c"), "ababc");
  EXPECT_EQ(stops.append("b"), "");
  EXPECT_EQ(stops.append("?d"), "");
  EXPECT_TRUE(stops.found());
}

TEST(StopStrings, WhatWaitedGoesOnWithOthers) {
  EXPECT_EQ(StopStrings({}, "EN").append("D"), "END");
  StopStrings found({"ND"}, "EN");
  EXPECT_EQ(found.append("D"), "E");
  EXPECT_TRUE(found.found());
}

}  // namespace
}  // namespace palimpsest
