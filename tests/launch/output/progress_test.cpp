// What is shown while something runs: numbers for people, the renewing line, the lasting lines.
#include "launch/output/progress.h"

#include <cmath>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "launch/report.h"
#include "launch/training/run_log.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

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
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(1234), "1.23 k");
  EXPECT_EQ(format_count(12345), "12.3 k");
  EXPECT_EQ(format_count(4560000), "4.56 M");
  EXPECT_EQ(format_count(1.2e9), "1.20 G");
}

TEST(Progress, PaceIsThatOfTheLastSteps) {
  Pace pace;
  EXPECT_LT(pace.seconds_for(3), 0);
  pace.add(100, 1000);  // a slow start
  for (int i = 0; i < 32; ++i) pace.add(100, 2);
  EXPECT_DOUBLE_EQ(pace.items_per_second(), 50);
  EXPECT_DOUBLE_EQ(pace.seconds_for(3), 6);
}

TEST(Progress, StepLine) {
  StepMetrics metrics;
  metrics.step = 120;
  metrics.loss = 2.0;
  metrics.gradient_norm = 0.5;
  metrics.learning_rate = 3e-4;
  metrics.tokens_per_second = 12345;
  EXPECT_EQ(format_step(metrics, 1000, 185),
            "step 120/1000  loss 2.0000  ppl 7.39  bits/token 2.885  12.3 k tokens/s  lr 3.00e-04  grad 0.500  "
            "ETA 3 min 05 s");
}

class RunLogTest : public testing::Test {
 protected:
  /// What reaches the console and the file when one lasting and one passing line are followed by a note.
  std::pair<std::string, std::string> run(bool terminal) {
    const int descriptor = open((directory_ / "console").c_str(), O_WRONLY | O_CREAT, 0600);
    {
      RunLog log(descriptor, terminal);
      log.add_file(directory_ / "log");
      log.progress("step 1", true);
      log.progress("step 2", false);
      log.note("saved");
    }
    close(descriptor);
    return {read(directory_ / "console"), read(directory_ / "log")};
  }
  TemporaryDirectory directory_;
};

TEST_F(RunLogTest, TerminalRenewsOneLine) {
  const auto [console, file] = run(true);
  EXPECT_EQ(console, "step 1\r\033[Kstep 2\r\033[Ksaved\n");
  EXPECT_NE(file.find("  step 1\n"), std::string::npos);
  EXPECT_EQ(file.find("step 2"), std::string::npos);
  EXPECT_NE(file.find("  saved\n"), std::string::npos);
}

TEST_F(RunLogTest, ElsewhereLinesArePlain) { EXPECT_EQ(run(false).first, "step 1\nsaved\n"); }

TEST_F(RunLogTest, GoesOnWhenNobodyReadsTheConsole) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    RunLog log(ends[1], false);
    log.add_file(directory_ / "log");
    const std::string line(1000, 'x');
    for (int i = 0; i < 200; ++i) log.note(line);  // a pipe holds 65,536 bytes
    log.note("the last line");
  }
  EXPECT_NE(read(directory_ / "log").find("the last line"), std::string::npos);
  close(ends[0]);
  close(ends[1]);
}

TEST(Report, TableAlignsColumns) {
  EXPECT_EQ(format_table({{"name", "n"}, {"a", "10"}, {"long name", "5"}}),
            "name        n\na          10\nlong name   5\n");
}

TEST(Report, ScoreDividesByTokensWordsAndBytes) {
  Score score{"book", 4, 2, 8, 8 * std::log(2.0)};
  EXPECT_NEAR(score.token_perplexity(), 4.0, 1e-12);
  EXPECT_NEAR(score.word_perplexity(), 16.0, 1e-12);
  EXPECT_NEAR(score.bits_per_byte(), 1.0, 1e-12);
}

}  // namespace
}  // namespace palimpsest
