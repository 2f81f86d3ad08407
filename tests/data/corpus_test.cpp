#include "data/text/corpus.h"

#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names(const CorpusListing& listing) {
  std::vector<std::string> result;
  for (const CorpusFile& file : listing.files) result.push_back(file.name);
  return result;
}

CorpusProblem problem_of(const fs::path& path) {
  const auto result = read_corpus_file(path);
  if (const auto* problem = std::get_if<CorpusProblem>(&result)) return *problem;
  ADD_FAILURE() << path << " can be read";
  return {};
}

TEST(Corpus, ListsTextFilesRecursivelyByName) {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "b" / "deep.txt");
  for (const char* name : {"c.txt", "a.txt", "b/1.txt", "b/deep.txt/x.y.txt", "notes.md", "b/metadata.csv", "txt"}) {
    overwrite_file(directory / name, "text");
  }
  const CorpusListing listing = list_corpus(directory.path());
  EXPECT_EQ(names(listing), (std::vector<std::string>{"a", "b/1", "b/deep.txt/x.y", "c"}));
  EXPECT_EQ(listing.files[1].path, directory / "b" / "1.txt");
  EXPECT_TRUE(listing.problems.empty());
}

TEST(Corpus, FollowsLinksToFilesOnly) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "real");
  overwrite_file(directory / "real" / "a.txt", "text");
  fs::create_symlink(directory / "real" / "a.txt", directory / "linked.txt");
  fs::create_symlink(directory / "nowhere", directory / "dangling.txt");
  fs::create_directory_symlink(directory.path(), directory / "real" / "cycle");
  EXPECT_EQ(names(list_corpus(directory.path())), (std::vector<std::string>{"dangling", "linked", "real/a"}));
  EXPECT_EQ(std::get<CorpusDocument>(read_corpus_file(directory / "linked.txt")).text, "text");
  const CorpusProblem problem = problem_of(directory / "dangling.txt");
  EXPECT_EQ(problem.kind, CorpusProblem::Kind::unreadable);
  EXPECT_EQ(problem.reason, "cannot be read: No such file or directory");
}

TEST(Corpus, FindsTheSplitsOfPg19Layout) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(corpus_splits(directory.path()).empty());
  for (const char* split : {"validation", "train", "other"}) fs::create_directory(directory / split);
  overwrite_file(directory / "test", "not a folder");
  EXPECT_EQ(corpus_splits(directory.path()), (std::vector<std::string>{"train", "validation"}));
}

TEST(Corpus, NamesTheFolderThatIsNone) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "file", "");
  EXPECT_TRUE(holds(message_of([&] { list_corpus(directory / "missing"); }), "missing: no such folder"));
  EXPECT_TRUE(holds(message_of([&] { corpus_splits(directory / "file"); }), "file: is not a folder"));
}

TEST(Corpus, ReadsTextAndCountsWords) {
  const TemporaryDirectory directory;
  const std::string text = "\xEF\xBB\xBFTwo wörds,\u00A0three\r\n";
  overwrite_file(directory / "a.txt", text);
  const auto document = std::get<CorpusDocument>(read_corpus_file(directory / "a.txt"));
  EXPECT_EQ(document.text, text);
  EXPECT_EQ(document.words, 3);
}

TEST(Corpus, SaysWhyAFileHasNoText) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "empty.txt", "");
  overwrite_file(directory / "blank.txt", " \n\u3000");
  overwrite_file(directory / "latin.txt", "one\ntwo\ncaf\xE9\n");
  ASSERT_EQ(mkfifo((directory / "pipe.txt").c_str(), 0600), 0);
  EXPECT_EQ(problem_of(directory / "empty.txt").reason, "is empty");
  EXPECT_EQ(problem_of(directory / "empty.txt").kind, CorpusProblem::Kind::empty);
  EXPECT_EQ(problem_of(directory / "blank.txt").reason, "holds nothing but white space");
  EXPECT_EQ(problem_of(directory / "latin.txt").reason, "is not UTF-8: byte 0xE9 at offset 11 (line 3)");
  EXPECT_EQ(problem_of(directory / "latin.txt").kind, CorpusProblem::Kind::not_utf8);
  EXPECT_EQ(problem_of(directory / "latin.txt").path, (directory / "latin.txt").string());
  EXPECT_EQ(problem_of(directory / "pipe.txt").reason, "is not a regular file");
}

TEST(Corpus, PassesOverATextThatIsTooLong) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "long.txt", std::string(3'000'000, 'a'));
  const auto result = read_corpus_file(directory / "long.txt", 2'999'999);
  const auto& problem = std::get<CorpusProblem>(result);
  EXPECT_EQ(problem.kind, CorpusProblem::Kind::too_long);
  EXPECT_EQ(problem.reason, "has more than 2999999 bytes: cut it into several documents");
  EXPECT_EQ(std::get<CorpusDocument>(read_corpus_file(directory / "long.txt", 3'000'000)).text.size(), 3'000'000u);
  std::ifstream endless("/dev/zero", std::ios::binary);
  EXPECT_FALSE(read_text(endless, 100));
}

}  // namespace
}  // namespace palimpsest
