// Lines that reach their file whole, once and in order, whatever happens to the file.
#include "launch/output/line_file.h"

#include <fstream>
#include <iterator>

#include <sys/resource.h>

#include <csignal>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Warnings {
  std::vector<std::string> texts;
  LineFile::Warn note() {
    return [this](const std::string& text) { texts.push_back(text); };
  }
};

TEST(LineFile, CutsATornLineOffAndAppends) {
  const TemporaryDirectory directory;
  for (const auto& [before, kept] : {std::pair{"a\nb\nto", "a\nb\n"}, {"torn", ""}, {"a\n", "a\n"}, {"", ""}}) {
    std::ofstream(directory / "log") << before;
    LineFile file(directory / "log", Warnings().note());
    EXPECT_EQ(read(directory / "log"), kept);
    file.append("next\n");
    EXPECT_EQ(read(directory / "log"), kept + std::string("next\n"));
  }
}

TEST(LineFile, NamesAFileThatCannotBeOpened) {
  EXPECT_THROW(LineFile("/no/such/folder/log", Warnings().note()), WriteError);
}

TEST(LineFile, KeepsWhatDoesNotFitAndWritesItOnceThereIsRoom) {
  const TemporaryDirectory directory;
  // A limit of 10 bytes: what a full disk does, half a line being written before the failure.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto earlier = signal(SIGXFSZ, SIG_IGN);
  Warnings warnings;
  LineFile file(directory / "log", warnings.note());
  file.append("123456\n");
  const rlimit tight{10, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  file.append("second\n");
  file.append("third\n");
  const std::string with_limit = read(directory / "log");
  const std::size_t kept = file.flush();
  const std::string problem = file.problem();
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(with_limit, "123456\n");
  EXPECT_EQ(kept, 2u);
  EXPECT_NE(problem.find("cannot be written: File too large"), std::string::npos) << problem;
  file.append("fourth\n");
  signal(SIGXFSZ, earlier);
  EXPECT_EQ(read(directory / "log"), "123456\nsecond\nthird\nfourth\n");
  EXPECT_EQ(file.problem(), "");
  ASSERT_EQ(warnings.texts.size(), 2u) << "one for the failure, one for its end";
  EXPECT_NE(warnings.texts[1].find("3 lines caught up"), std::string::npos) << warnings.texts[1];
}

TEST(LineFile, BeginsAgainWhereItsFolderWasRemoved) {
  const TemporaryDirectory directory;
  Warnings warnings;
  fs::create_directory(directory / "run");
  LineFile file(directory / "run/log", warnings.note());
  file.append("first\n");
  fs::remove_all(directory / "run");
  file.append("second\n");
  EXPECT_EQ(read(directory / "run/log"), "second\n");
  ASSERT_EQ(warnings.texts.size(), 1u);
  EXPECT_NE(warnings.texts[0].find("has been removed"), std::string::npos);
}

}  // namespace
}  // namespace palimpsest
