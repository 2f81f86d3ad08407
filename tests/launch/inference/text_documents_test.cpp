// Texts of the command line: what becomes of files and folders, and what is refused.
#include "launch/inference/text_documents.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

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

}  // namespace
}  // namespace palimpsest
