#include "core/io/temporary_file.h"

#include <set>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

pid_t a_dead_process() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

TEST(TemporaryFile, OnlyWhatDeadProcessesOfThisHostLeftIsRemoved) {
  const TemporaryDirectory directory;
  const std::string own = temporary_file_for(directory / "train-1.h5").filename();
  const std::string process = std::to_string(getpid()), dead = std::to_string(a_dead_process());
  ASSERT_TRUE(own.starts_with(".tmp-train-1.h5-") && own.ends_with("-" + process)) << own;
  const std::string stem = own.substr(0, own.size() - process.size());
  const std::string elsewhere = fmt::format(".tmp-train-1.h5-not-{}-{}", "this-host", dead);
  const std::set<std::string> kept = {own,
                                      stem + std::to_string(getppid()),
                                      elsewhere,
                                      stem + dead + "x",
                                      stem + "-" + dead,
                                      ".tmp-train-1.h5-" + dead,
                                      "train-1.h5"};
  for (const std::string& name : kept) overwrite_file(directory / name, "");
  overwrite_file(directory / (stem + dead), "");
  const std::string host_part = stem.substr(std::string(".tmp-train-1.h5").size());
  overwrite_file(directory / (".tmp-other.h5" + host_part + dead), "");
  fs::create_directory(directory / (".tmp-folder" + host_part + dead));
  remove_abandoned_files(directory.path());
  std::set<std::string> left;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory.path())) {
    if (entry.is_regular_file()) left.insert(entry.path().filename());
  }
  EXPECT_EQ(left, kept);
  EXPECT_TRUE(fs::exists(directory / (".tmp-folder" + host_part + dead)));
  remove_abandoned_files(directory / "nowhere");
}

}  // namespace
}  // namespace palimpsest
