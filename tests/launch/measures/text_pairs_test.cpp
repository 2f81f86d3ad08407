// Files of texts, and which of them belong together.
#include "launch/measures/text_pairs.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

class TextPairs : public testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& content) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  static std::vector<TextPair> pair(const fs::path& references, const fs::path& candidates, bool whole_file = false) {
    return pair_texts(references, read_texts(references, "summary", whole_file), candidates,
                      read_texts(candidates, "text", whole_file));
  }
  template <class Exception>
  static void expect_error(const std::string& expected, const fs::path& references, const fs::path& candidates) {
    try {
      pair(references, candidates);
      ADD_FAILURE() << "nothing was wrong; expected: " << expected;
    } catch (const Exception& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }

  TemporaryDirectory folder_;
};

TEST_F(TextPairs, LinesBelongTogetherByNumber) {
  const auto pairs = pair(write("references.txt", "one\r\n\nthree\n"), write("candidates.txt", "1\n2\n3"));
  ASSERT_EQ(pairs.size(), 3u);
  EXPECT_EQ(pairs[0].references.front(), "one");
  EXPECT_EQ(pairs[1].references.front(), "");
  EXPECT_EQ(pairs[2].candidate, "3");
  EXPECT_EQ(pairs[2].id, "3");
}

TEST_F(TextPairs, AWholeFileIsOneText) {
  const auto pairs = pair(write("reference.txt", "one\ntwo\n"), write("candidate.txt", "1\n\n2"), true);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs.front().references.front(), "one\ntwo\n");
  EXPECT_EQ(pairs.front().candidate, "1\n\n2");
}

TEST_F(TextPairs, AByteOrderMarkIsNoText) {
  const std::string mark = "\xEF\xBB\xBF";
  const fs::path lines = write("lines/a.txt", mark + "one\ntwo\n");
  const auto first = [](const std::vector<NamedTexts>& texts) { return texts.front().texts.front(); };
  EXPECT_EQ(first(read_texts(lines, "text", false)), "one");
  EXPECT_EQ(first(read_texts(lines, "text", true)), "one\ntwo\n");
  EXPECT_EQ(first(read_texts(folder_ / "lines", "text", false)), "one\ntwo\n");
  EXPECT_EQ(first(read_texts(write("a.jsonl", mark + "{\"text\": \"one\"}\n"), "text", false)), "one");
}

TEST_F(TextPairs, FoldersBelongTogetherByName) {
  write("written/b.txt", "reference b");
  write("written/deep/a.txt", "reference a");
  write("made/deep/a.txt", "candidate a");
  write("made/b.txt", "");
  const auto pairs = pair(folder_ / "written", folder_ / "made");
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0].id, "b");
  EXPECT_EQ(pairs[0].candidate, "");
  EXPECT_EQ(pairs[1].id, "deep/a");
  EXPECT_EQ(pairs[1].candidate, "candidate a");
  write("made/c.txt", "more");
  expect_error<DataError>("no reference for the candidate c", folder_ / "written", folder_ / "made");
  write("written/d.txt", "more");
  expect_error<DataError>("no candidate for the reference d", folder_ / "written", folder_ / "made");
}

TEST_F(TextPairs, JsonLinesBelongTogetherByIdOrNumber) {
  const fs::path references = write("r.jsonl",
                                    "{\"id\": \"x\", \"summary\": [\"one\", \"uno\"]}\n\n"
                                    "{\"_id\": 7, \"summary\": \"two\", \"more\": {}}\n");
  const auto by_id =
      pair(references, write("c.jsonl", "{\"id\": 7, \"text\": \"2\"}\n{\"id\": \"x\", \"text\": \"1\"}"));
  ASSERT_EQ(by_id.size(), 2u);
  EXPECT_EQ(by_id[0].references, (std::vector<std::string>{"one", "uno"}));
  EXPECT_EQ(by_id[0].candidate, "1");
  EXPECT_EQ(by_id[1].id, "7");
  EXPECT_EQ(by_id[1].candidate, "2");
  const auto by_number = pair(references, write("c.txt", "first\nsecond\n"));
  EXPECT_EQ(by_number[1].candidate, "second");
  EXPECT_EQ(by_number[1].id, "7");
}

TEST_F(TextPairs, SayWhatIsWrong) {
  const fs::path two = write("two.txt", "one\ntwo\n");
  expect_error<DataError>("2 references and 1 candidates", two, write("one.txt", "one"));
  expect_error<DataError>("holds no texts", two, write("none.txt", ""));
  expect_error<FileError>("no.txt", two, folder_ / "no.txt");
  expect_error<FileError>("bad.txt:2: not UTF-8", two, write("bad.txt", "a\n\xE9\n"));
  expect_error<FileError>("c.jsonl:2: there is no key \"text\", but \"id\", \"txt\"", two,
                          write("c.jsonl", "{\"text\": \"\"}\n{\"txt\": 1, \"id\": 2}"));
  expect_error<FileError>("expected a text or a list of texts", two, write("d.jsonl", "{\"text\": [1]}"));
  expect_error<FileError>("expected a text or a list of texts", two, write("d.jsonl", "{\"text\": []}"));
  expect_error<FileError>("e.jsonl:1: is no JSON object", two, write("e.jsonl", "[]"));
  expect_error<FileError>("\"id\" is 1.5", two, write("f.jsonl", "{\"text\": \"\", \"id\": 1.5}"));
  expect_error<DataError>("two texts named a", two,
                          write("g.jsonl", "{\"text\": \"\", \"id\": \"a\"}\n{\"text\": \"\", \"id\": \"a\"}"));
  expect_error<DataError>("candidate 1 has 2 texts", two,
                          write("h.jsonl", "{\"text\": [\"\", \"\"]}\n{\"text\": \"\"}"));
}

}  // namespace

}  // namespace palimpsest
