// Texts of the command line: what becomes of files and folders, and what is refused.
#include "launch/inference/text_documents.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include <stdlib.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

/// TMPDIR, until this goes.
class TemporaryFiles {
 public:
  explicit TemporaryFiles(const std::filesystem::path& folder) {
    if (const char* earlier = getenv("TMPDIR")) earlier_ = earlier;
    setenv("TMPDIR", folder.c_str(), 1);
  }
  ~TemporaryFiles() {
    if (earlier_) {
      setenv("TMPDIR", earlier_->c_str(), 1);
    } else {
      unsetenv("TMPDIR");
    }
  }
  TemporaryFiles(const TemporaryFiles&) = delete;
  TemporaryFiles& operator=(const TemporaryFiles&) = delete;

 private:
  std::optional<std::string> earlier_;
};

class TextDocumentsTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }
  std::string refusal(const std::vector<std::string>& paths) {
    try {
      read_text_documents(paths, tokenizer_);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory folder_;
  ByteTokenizer tokenizer_;
};

TEST_F(TextDocumentsTest, AreNamedByTheirFilesInTheOrderGiven) {
  const std::string b = write("b.txt", "two words"), a = write("a", "one\r\n");
  write("folder/z.txt", "last");
  write("folder/deeper/y.txt", "before");
  write("folder/other.md", "not a text");
  const auto file = read_text_documents({b, a, (folder_ / "folder").string()}, tokenizer_);
  ASSERT_EQ(file->document_count(), 4);
  EXPECT_EQ(file->document(0).name, b);
  EXPECT_EQ(file->document(0).words, 2);
  EXPECT_EQ(file->document(1).name, a);
  EXPECT_EQ(file->document(1).bytes, 5);
  EXPECT_EQ(file->document(2).name, (folder_ / "folder/deeper/y.txt").string());
  EXPECT_EQ(file->document(3).name, (folder_ / "folder/z.txt").string());
  EXPECT_EQ(file->document_tokens(0, 0, 4), (std::vector<std::int32_t>{256, 't', 'w', 'o'}));
  EXPECT_EQ(file->lossy_documents(), 0);
  EXPECT_NO_THROW(file->verify());
  EXPECT_FALSE(std::filesystem::exists(file->path()));  // nothing stays behind
}

TEST_F(TextDocumentsTest, AreRefusedByName) {
  const std::string good = write("good.txt", "good"), empty = write("empty.txt", ""), bad = write("bad.txt", "caf\xE9");
  const std::string message = refusal({good, empty, bad, (folder_ / "none.txt").string()});
  EXPECT_TRUE(message.starts_with("3 of 4 texts cannot be evaluated:")) << message;
  for (const char* part : {"empty.txt: is empty", "bad.txt: is not UTF-8: byte 0xE9", "none.txt: cannot be read"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_NE(refusal({good, folder_.path().string() + "/./good.txt"}).find("is named twice"), std::string::npos);
  std::filesystem::create_directory(folder_ / "bare");
  EXPECT_NE(refusal({(folder_ / "bare").string()}).find("holds no *.txt file"), std::string::npos);
}

TEST_F(TextDocumentsTest, LeaveTheFilesOfOtherProcessesAlone) {
  const std::string text = write("a.txt", "some text");
  // Where processes have namespaces of their own, another one can have the number of this one.
  const std::string other = write("temporary/palimpsest-texts-" + std::to_string(getpid()) + ".h5", "of another rank");
  const TemporaryFiles temporary(folder_ / "temporary");
  EXPECT_EQ(read_text_documents({text}, tokenizer_)->document_count(), 1);
  ASSERT_TRUE(std::filesystem::exists(other));
  EXPECT_EQ(std::filesystem::file_size(other), 15u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / "temporary"), {}), 1);
}

TEST_F(TextDocumentsTest, SayWhereTemporaryFilesCannotBe) {
  const std::string text = write("a.txt", "some text");
  for (const std::string& folder : {(folder_ / "missing").string(), text, std::string("/proc")}) {
    const TemporaryFiles temporary(folder);
    try {
      read_text_documents({text}, tokenizer_);
      ADD_FAILURE() << folder;
    } catch (const WriteError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with(folder)) << error.what();
    }
  }
}

}  // namespace
}  // namespace palimpsest
