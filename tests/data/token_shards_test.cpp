#include "data/tokens/token_shards.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/tokens/token_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> texts = {"one two", "three", "four five six", "seven"};

void write(const fs::path& path, std::size_t begin, std::size_t end) {
  TokenFileWriter writer(path, ByteTokenizer(), true);
  for (std::size_t i = begin; i < end; ++i) {
    writer.add_document("text " + std::to_string(i), ByteTokenizer().encode(texts[i]), static_cast<std::int64_t>(i) + 1,
                        static_cast<std::int64_t>(texts[i].size()));
  }
  writer.finish();
}

/// The same documents in one file and in three shards.
struct Fixture {
  TemporaryDirectory directory;
  fs::path whole = directory / "whole.h5", folder = directory / "set.h5";

  Fixture() {
    write(whole, 0, 4);
    fs::create_directory(folder);
    write(folder / "00000.h5", 0, 1);
    write(folder / "00001.h5", 1, 3);
    write(folder / "00002.h5", 3, 4);
    write_shard_index(folder, {"00000.h5", "00001.h5", "00002.h5"});
  }
  std::string opening_error() const {
    return message_of<Error>([&] { TokenFile file(folder); });
  }
};

TEST(TokenShards, ReadAsOneFile) {
  const Fixture fixture;
  const TokenFile whole(fixture.whole), set(fixture.folder);
  set.verify();
  EXPECT_EQ(set.shard_count(), 3);
  EXPECT_EQ(whole.shard_count(), 1);
  EXPECT_EQ(set.path(), fixture.folder);
  EXPECT_EQ(set.checksum(), whole.checksum());
  EXPECT_EQ(set.tokenizer_identity(), whole.tokenizer_identity());
  EXPECT_EQ(set.word_count(), 10);
  EXPECT_EQ(set.byte_count(), whole.byte_count());
  ASSERT_EQ(set.document_count(), 4);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(set.document(i).name, whole.document(i).name);
    EXPECT_EQ(set.document(i).begin, whole.document(i).begin);
    EXPECT_EQ(set.document(i).words, i + 1);
    EXPECT_EQ(set.document_tokens(i, 0, 100), whole.document_tokens(i, 0, 100));
  }
  // Across the borders, from anywhere to anywhere.
  for (std::int64_t begin = 0; begin <= whole.token_count(); ++begin) {
    for (std::int64_t end = begin; end <= whole.token_count(); ++end) {
      std::vector<std::int32_t> expected(static_cast<std::size_t>(end - begin)), found(expected.size(), -1);
      whole.read(begin, expected);
      set.read(begin, found);
      ASSERT_EQ(found, expected) << begin << " to " << end;
    }
  }
  std::vector<std::int32_t> target(2);
  EXPECT_THROW(set.read(set.token_count() - 1, target), DataError);
}

TEST(TokenShards, KnowTitlesThatSomeOfThemHave) {
  const TemporaryDirectory directory;
  const auto write_one = [&](const std::string& name, const DocumentOrigin& origin) {
    TokenFileWriter writer(directory / name, ByteTokenizer());
    writer.add_document(name, {}, 0, 0, origin);
    writer.add_document("more", {}, 0, 0);
    writer.finish();
  };
  write_one("0.h5", {});
  write_one("1.h5", {"One", 1901});
  write_one("2.h5", {});
  write_shard_index(directory.path(), {"0.h5", "1.h5", "2.h5"});
  const TokenFile set(directory.path());
  for (std::int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(set.document(i).title, i == 2 ? "One" : "") << i;
    EXPECT_EQ(set.document(i).year, i == 2 ? 1901 : 0) << i;
  }
}

TEST(TokenShards, NameAMissingShard) {
  const Fixture fixture;
  fs::remove(fixture.folder / "00001.h5");
  EXPECT_EQ(fixture.opening_error(), (fixture.folder / "00001.h5").string() + ": this shard is missing");
}

TEST(TokenShards, NameADamagedShard) {
  const Fixture fixture;
  const fs::path shard = fixture.folder / "00001.h5";
  const std::string content = file_content(shard);
  overwrite_file(shard, content.substr(0, content.size() / 2));
  EXPECT_TRUE(fixture.opening_error().starts_with(shard.string())) << fixture.opening_error();
  overwrite_file(shard, content);
  const std::size_t text = content.find(std::string("t\0h\0r\0e\0e\0", 10));
  ASSERT_NE(text, std::string::npos);
  flip_byte(shard, text);
  const std::string message = message_of<Error>([&] { TokenFile(fixture.folder).verify(); });
  EXPECT_TRUE(message.starts_with(shard.string())) << message;
}

TEST(TokenShards, NoticeAnExchangedShard) {
  const Fixture fixture;
  write(fixture.folder / "00001.h5", 0, 3);
  EXPECT_TRUE(holds(fixture.opening_error(), "00001.h5: is another shard than the one in index.json"));
  // One whose tables are whole, and whose tokens are those of another tokenizer.
  fs::remove(fixture.folder / "00001.h5");
  write(fixture.folder / "00001.h5", 1, 3);
  TokenFileWriter writer(fixture.folder / "00002.h5", *make_tokenizer("passkey"), true);
  writer.add_document("other", {}, 0, 0);
  writer.finish();
  EXPECT_TRUE(holds(fixture.opening_error(), "00002.h5: was packed with tokenizer words:"));
}

TEST(TokenShards, RefuseAnIndexThatIsNone) {
  const Fixture fixture;
  const fs::path index = fixture.folder / "index.json";
  const std::string content = file_content(index);
  const auto error_with = [&](const std::string& found, const std::string& put) {
    std::string changed = content;
    const std::size_t at = changed.find(found);
    EXPECT_NE(at, std::string::npos) << found;
    overwrite_file(index, changed.replace(at, found.size(), put));
    return fixture.opening_error();
  };
  EXPECT_TRUE(holds(error_with("palimpsest token shards", "shards"), "is not the index"));
  EXPECT_TRUE(holds(error_with("\"version\": 1", "\"version\": 2"), "version 2, expected 1"));
  EXPECT_TRUE(holds(error_with("\"00001.h5\"", "\"../whole.h5\""), "names a shard \"../whole.h5\""));
  EXPECT_TRUE(holds(error_with("\"00001.h5\"", "\"index.json\""), "names a shard \"index.json\""));
  EXPECT_TRUE(holds(error_with("\"00001.h5\"", "1"), "is not a whole index"));
  EXPECT_TRUE(holds(error_with("\"00001.h5\"", "\"00000.h5\""), "names a shard \"00000.h5\" after \"00000.h5\""));
  EXPECT_TRUE(holds(error_with("{", "["), "index.json"));
  const std::string checksum = TokenFile(fixture.whole).checksum();
  EXPECT_TRUE(holds(error_with(checksum, std::string(32, '0')), "the checksum of the document table is"));
  fs::remove(index);
  EXPECT_TRUE(holds(fixture.opening_error(), "is a folder without index.json"));
}

}  // namespace
}  // namespace palimpsest
