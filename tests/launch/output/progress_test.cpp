// What is shown while something runs: numbers for people, and tables.
#include "launch/output/progress.h"

#include <vector>

#include <gtest/gtest.h>

#include "launch/output/table.h"

namespace palimpsest {
namespace {

TEST(Progress, Durations) {
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7620), "2 h 07 min");
  EXPECT_EQ(format_duration(273600), "3 d 04 h");
  EXPECT_EQ(format_duration(-1), "unknown");
}

TEST(Progress, Counts) {
  EXPECT_EQ(format_bytes(432), "432 B");
  EXPECT_EQ(format_bytes(1150), "1.15 kB");
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(1234), "1.23 k");
  EXPECT_EQ(format_count(12345), "12.3 k");
  EXPECT_EQ(format_count(4560000), "4.56 M");
  EXPECT_EQ(format_count(1.2e9), "1.20 G");
}

TEST(Progress, RatesOfFewThings) {
  EXPECT_EQ(format_slow_rate(27, "documents", 2), "13.5 documents/s");
  EXPECT_EQ(format_slow_rate(440, "books", 1500), "17.6 books/min");
  EXPECT_EQ(format_slow_rate(2, "books", 1500), "4.8 books/h");
  EXPECT_EQ(format_slow_rate(0, "books", 1500), "0.0 books/s");
}

TEST(Progress, PaceIsThatOfTheLastSteps) {
  Pace pace;
  EXPECT_LT(pace.seconds_for(3), 0);
  pace.add(100, 1000);  // a slow start
  for (int i = 0; i < 32; ++i) pace.add(100, 2);
  EXPECT_DOUBLE_EQ(pace.items_per_second(), 50);
  EXPECT_DOUBLE_EQ(pace.seconds_for(3), 6);
}

TEST(Progress, OneLineEveryHalfMinuteStays) {
  LastingLines lines;
  std::vector<double> stayed;
  for (double seconds = 0; seconds < 100; seconds += 7) {
    if (lines.due(seconds)) stayed.push_back(seconds);
  }
  EXPECT_EQ(stayed, (std::vector<double>{35, 70}));
}

TEST(Table, AlignsColumns) {
  EXPECT_EQ(format_table({{"name", "n"}, {"a", "10"}, {"long name", "5"}}),
            "name        n\na          10\nlong name   5\n");
}

}  // namespace
}  // namespace palimpsest
