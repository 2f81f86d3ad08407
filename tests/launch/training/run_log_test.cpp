// The lines of a run: renewed on a terminal, lasting elsewhere and in the file.
#include "launch/training/run_log.h"

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
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

}  // namespace
}  // namespace palimpsest
