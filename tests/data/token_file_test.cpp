#include "data/tokens/token_file.h"

#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <limits>

#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/random.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// A tokenizer of any vocabulary: only its numbers matter here.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::int64_t vocab_size) : vocab_size_(vocab_size) {}
  std::vector<std::int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const std::int32_t>) const override { return {}; }
  std::int64_t vocab_size() const override { return vocab_size_; }
  std::int32_t begin_id() const override { return 1; }
  std::int32_t end_id() const override { return 2; }
  std::string identity() const override { return "fake"; }
  std::string_view model() const override { return {"a\0model", 7}; }
  std::string token_bytes(std::int32_t, bool&) const override { return {}; }

 private:
  std::int64_t vocab_size_;
};

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size) {
  const Random random(9, RandomPurpose::test);
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(
        static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(vocab_size))));
  }
  return tokens;
}

void write_bytes_file(const fs::path& path) {
  TokenFileWriter writer(path, ByteTokenizer());
  writer.add_document("first", ByteTokenizer().encode("one two"), 2, 7);
  writer.add_document("", ByteTokenizer().encode("three"), 1, 5);
  writer.finish();
}

TEST(TokenFile, HoldsWhatWasWritten) {
  const TemporaryDirectory directory;
  write_bytes_file(directory / "a.h5");
  const TokenFile file(directory / "a.h5");
  file.verify();
  EXPECT_EQ(file.token_count(), 16);
  EXPECT_EQ(file.document_count(), 2);
  EXPECT_EQ(file.word_count(), 3);
  EXPECT_EQ(file.byte_count(), 12);
  EXPECT_EQ(file.tokenizer_identity(), "bytes");
  EXPECT_EQ(file.tokenizer()->identity(), "bytes");
  EXPECT_EQ(file.document(0).name, "first");
  EXPECT_EQ(file.document(1).name, "");
  EXPECT_EQ(file.document(1).begin, 9);
  EXPECT_EQ(file.document(1).tokens, 7);
  EXPECT_EQ(file.document_tokens(1, 0, 100), (std::vector<std::int32_t>{256, 't', 'h', 'r', 'e', 'e', 257}));
  EXPECT_EQ(file.document_tokens(1, 5, 3), (std::vector<std::int32_t>{'e', 257}));
  EXPECT_TRUE(file.document_tokens(1, 7, 3).empty());
  EXPECT_TRUE(file.document_tokens(1, 70, 3).empty());
  EXPECT_EQ(Hdf5File::open(directory / "a.h5").info("tokens").type, "uint16");
}

TEST(TokenFile, HoldsTitlesAndYearsWhereTheyAreKnown) {
  const TemporaryDirectory directory;
  const auto write = [&](const std::string& name, const DocumentOrigin& second) {
    TokenFileWriter writer(directory / name, ByteTokenizer());
    writer.add_document("1", {{1}}, 1, 1);
    writer.add_document("2", {{2}}, 1, 1, second);
    writer.finish();
  };
  write("known.h5", {"Emma, a novel", 1815});
  write("year.h5", {"", 1815});
  write("unknown.h5", {});
  const TokenFile known(directory / "known.h5"), year(directory / "year.h5"), unknown(directory / "unknown.h5");
  EXPECT_EQ(known.document(0).title, "");
  EXPECT_EQ(known.document(0).year, 0);
  EXPECT_EQ(known.document(1).title, "Emma, a novel");
  EXPECT_EQ(known.document(1).year, 1815);
  EXPECT_EQ(year.document(1).year, 1815);
  EXPECT_EQ(unknown.document(1).title, "");
  EXPECT_FALSE(Hdf5File::open(directory / "unknown.h5").contains("documents/titles"));
  // What is trained on is the same.
  EXPECT_EQ(known.checksum(), unknown.checksum());
  const std::size_t title = file_content(directory / "known.h5").find("Emma");
  ASSERT_NE(title, std::string::npos);
  flip_byte(directory / "known.h5", title);
  EXPECT_THROW(TokenFile(directory / "known.h5"), Error);
  TokenFileWriter writer(directory / "zero.h5", ByteTokenizer());
  EXPECT_THROW(writer.add_document("1", {}, 0, 0, {std::string("a\0b", 3), 0}), DataError);
}

TEST(TokenFile, HoldsAnyVocabularyAndLength) {
  const TemporaryDirectory directory;
  // 65536 is the largest vocabulary of 16 bits; 1.5 million tokens exceed every buffer.
  for (const std::int64_t vocab_size : {std::int64_t{65536}, std::int64_t{65537}}) {
    const fs::path path = directory / std::to_string(vocab_size);
    const auto tokens = random_tokens(1'500'000, vocab_size);
    TokenFileWriter writer(path, FakeTokenizer(vocab_size));
    writer.add_document("short", {{5}}, 1, 1);
    writer.add_document("long", tokens, 1, 1);
    writer.add_document("empty", {}, 0, 0);
    writer.finish();
    const TokenFile file(path);
    file.verify();
    EXPECT_EQ(file.tokenizer_model(), FakeTokenizer(1).model());
    const auto read = file.document_tokens(1, 1, 1'500'000);
    EXPECT_EQ(read, tokens);
    EXPECT_EQ(Hdf5File::open(path).info("tokens").type, vocab_size == 65536 ? "uint16" : "int32");
  }
}

TEST(TokenFile, ChecksumNamesTheContent) {
  const TemporaryDirectory directory;
  auto checksum = [&, number = 0](const std::string& name, const std::vector<std::vector<std::int32_t>>& documents,
                                  std::int64_t words) mutable {
    const fs::path path = directory / std::to_string(number++);
    TokenFileWriter writer(path, ByteTokenizer());
    for (const auto& document : documents) writer.add_document(name, document, words, 1);
    writer.finish();
    return TokenFile(path).checksum();
  };
  const std::string original = checksum("name", {{1, 2}, {3}}, 1);
  EXPECT_EQ(checksum("name", {{1, 2}, {3}}, 1), original);
  EXPECT_NE(checksum("other", {{1, 2}, {3}}, 1), original);
  EXPECT_NE(checksum("name", {{1, 2}, {3}}, 2), original);
  EXPECT_NE(checksum("name", {{1}, {2, 3}}, 1), original);
  EXPECT_NE(checksum("name", {{1, 2}, {4}}, 1), original);
}

TEST(TokenFileWriter, LeavesNothingUnlessFinished) {
  const TemporaryDirectory directory;
  {
    TokenFileWriter writer(directory / "a.h5", ByteTokenizer());
    writer.add_document("x", {{1}}, 1, 1);
    EXPECT_FALSE(fs::exists(directory / "a.h5"));
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
  TokenFileWriter nothing(directory / "a.h5", ByteTokenizer());
  EXPECT_THROW(nothing.finish(), DataError);
  EXPECT_FALSE(fs::exists(directory / "a.h5"));
}

TEST(TokenFileWriter, RemovesWhatAKilledProcessLeft) {
  const TemporaryDirectory directory;
  const pid_t child = fork();
  if (child == 0) {
    TokenFileWriter writer(directory / "killed.h5", ByteTokenizer());
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(fs::is_empty(directory.path()));
  { TokenFileWriter writer(directory / "a.h5", ByteTokenizer()); }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(TokenFileWriter, RefusesWhatItCannotWrite) {
  const TemporaryDirectory directory;
  TokenFileWriter writer(directory / "a.h5", ByteTokenizer());
  EXPECT_TRUE(holds(message_of<DataError>([&] { writer.add_document("x", {{5, 258}}, 1, 1); }), "token 258"));
  EXPECT_THROW(writer.add_document("x", {{-1}}, 1, 1), DataError);
  EXPECT_THROW(writer.add_document(std::string_view("a\0b", 3), {{1}}, 1, 1), DataError);
  EXPECT_EQ(writer.document_count(), 0);
  EXPECT_THROW(TokenFileWriter(directory.path(), ByteTokenizer(), true), WriteError);
  overwrite_file(directory / "file", "");
  EXPECT_THROW(TokenFileWriter(directory / "file", ByteTokenizer()), WriteError);
  EXPECT_THROW(TokenFileWriter(directory / "file" / "below.h5", ByteTokenizer()), WriteError);
}

TEST(TokenFile, NamesWhatIsNoTokenFile) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "text", "not HDF5 at all");
  overwrite_file(directory / "empty", "");
  { Hdf5File::create(directory / "other.h5").close(); }
  for (const char* name : {"missing", "text", "empty", "other.h5", "."}) {
    const std::string message = message_of([&] { TokenFile file(directory / name); });
    EXPECT_TRUE(message.starts_with((directory / name).string() + ":")) << message;
  }
}

TEST(TokenFile, NoticesEveryCut) {
  const TemporaryDirectory directory;
  write_bytes_file(directory / "a.h5");
  const std::string whole = file_content(directory / "a.h5");
  for (std::size_t length = 0; length < whole.size(); length += 997) {
    overwrite_file(directory / "cut.h5", whole.substr(0, length));
    EXPECT_THROW(TokenFile(directory / "cut.h5").verify(), FileError) << length;
  }
}

TEST(TokenFile, NoticesAFlippedByteOfItsTokens) {
  const TemporaryDirectory directory;
  TokenFileWriter writer(directory / "a.h5", FakeTokenizer(65536));
  writer.add_document("x", {{0x4142, 0x4344, 0x4546}}, 1, 1);
  writer.finish();
  const std::size_t offset = file_content(directory / "a.h5").find("BADCFE");
  ASSERT_NE(offset, std::string::npos);
  for (std::size_t byte = 0; byte < 6; ++byte) {
    fs::copy_file(directory / "a.h5", directory / "b.h5", fs::copy_options::overwrite_existing);
    flip_byte(directory / "b.h5", offset + byte);
    EXPECT_THROW(TokenFile(directory / "b.h5").verify(), Error) << byte;
  }
}

/// A token file written by hand, so that any part of it can be wrong.
struct Parts {
  std::vector<std::int64_t> offsets{0, 4, 7}, words{1, 1}, bytes{2, 1};
  std::vector<std::uint8_t> names{'a', 0, 'b', 0};
  std::vector<std::uint16_t> tokens{256, 'x', 'y', 257, 256, 'z', 257};
  std::int64_t version = 1, vocab_size = 258, end_id = 257;
  std::string tokens_checksum = "0", checksum = "";

  std::string error(const fs::path& path, const std::function<void(const TokenFile&)>& use = {}) const {
    fs::remove(path);
    Hdf5File file = Hdf5File::create(path);
    file.write("documents/offsets", offsets);
    file.write("documents/words", words);
    file.write("documents/bytes", bytes);
    file.write("documents/names", names);
    file.write("tokenizer_model", std::vector<std::uint8_t>());
    file.write("tokens", tokens);
    file.write_attribute("format", "palimpsest token file");
    file.write_attribute("format_version", version);
    file.write_attribute("tokenizer", "bytes");
    file.write_attribute("vocab_size", vocab_size);
    file.write_attribute("begin_id", std::int64_t{256});
    file.write_attribute("end_id", end_id);
    file.write_attribute("tokens_checksum", tokens_checksum);
    const std::string names_text(names.begin(), names.end());
    file.write_attribute("checksum", checksum.empty() ? token_file_format::content_checksum({tokens_checksum,
                                                                                             "bytes",
                                                                                             vocab_size,
                                                                                             256,
                                                                                             end_id,
                                                                                             offsets,
                                                                                             words,
                                                                                             bytes,
                                                                                             names_text,
                                                                                             "",
                                                                                             {},
                                                                                             {},
                                                                                             {}})
                                                      : checksum);
    file.close();
    std::string message = message_of<Error>([&] {
      const TokenFile read(path);
      use ? use(read) : read.verify();
    });
    EXPECT_TRUE(message.starts_with(path.string() + ": ")) << message;
    return message;
  }
};

TEST(TokenFile, NamesWhatIsWrongInItsTable) {
  const TemporaryDirectory directory;
  const auto expect = [&](const std::function<void(Parts&)>& damage, const std::string& part) {
    Parts parts;
    damage(parts);
    const std::string message = parts.error(directory / "a.h5");
    EXPECT_TRUE(holds(message, part)) << message;
  };
  expect([](Parts& p) { p.version = 3; }, "token file format 3, expected 1 or 2");
  expect([](Parts& p) { p.end_id = 258; }, "token 258 lies outside the vocabulary of 258");
  expect([](Parts& p) { p.vocab_size = 0; }, "vocab_size is 0");
  expect([](Parts& p) { p.offsets[0] = 1; }, "documents/offsets: entry 0 is 1, expected 0");
  expect([](Parts& p) { p.offsets[1] = 6; }, "documents/offsets: entry 2 is 7 after 6, expected at least 2 more");
  expect([](Parts& p) { p.offsets[1] = -4; }, "documents/offsets: entry 1 is -4 after 0");
  expect([](Parts& p) { p.offsets[2] = 8; }, "the last entry is 8, but 7 tokens are stored");
  expect([](Parts& p) { p.offsets.push_back(9); }, "documents/offsets has 4 entries");
  expect([](Parts& p) { p.words.pop_back(); }, "documents/words 1");
  expect([](Parts& p) { p.words[1] = -1; }, "documents/words: counts out of range");
  expect(
      [](Parts& p) {
        p.bytes = {std::int64_t{1} << 62, std::int64_t{1} << 62};
      },
      "documents/bytes: counts out of range");
  expect([](Parts& p) { p.names.pop_back(); }, "documents/names: 2 names");
  expect([](Parts& p) { p.names = {'a', 'b', 0}; }, "documents/names: 1 names, expected 2");
  expect([](Parts& p) { p.names.clear(); }, "documents/names: 0 names, expected 2");
  expect([](Parts& p) { p.checksum = std::string("0"); }, "checksum of the document table");
  expect([](Parts& p) { p.words.clear(), p.bytes.clear(), p.names.clear(), p.offsets = {0}; }, "holds no document");
}

TEST(TokenFile, NamesTheOffsetOfAWrongToken) {
  const TemporaryDirectory directory;
  Parts parts;
  EXPECT_TRUE(holds(parts.error(directory / "a.h5"), "the checksum of the tokens is"));
  parts.tokens[5] = 300;
  const std::string outside = "token 300 at offset 5 is outside the vocabulary of 258 tokens";
  EXPECT_TRUE(holds(parts.error(directory / "a.h5"), outside));
  EXPECT_TRUE(
      holds(parts.error(directory / "a.h5", [](const TokenFile& file) { file.document_tokens(1, 1, 1); }), outside));
  parts.tokens[5] = 'z';
  parts.tokens[4] = 'z';
  EXPECT_TRUE(holds(parts.error(directory / "a.h5"), "token 122 at offset 4, expected the begin token 256"));
  parts.tokens[4] = 256;
  parts.tokens[3] = 'z';
  EXPECT_TRUE(holds(parts.error(directory / "a.h5"), "token 122 at offset 3, expected the end token 257"));
}

TEST(TokenFile, RefusesReadingOutsideItself) {
  const TemporaryDirectory directory;
  write_bytes_file(directory / "a.h5");
  const TokenFile file(directory / "a.h5");
  std::vector<std::int32_t> target(3);
  EXPECT_THROW(file.read(-1, target), DataError);
  EXPECT_THROW(file.read(14, target), DataError);
  EXPECT_THROW(file.read(std::numeric_limits<std::int64_t>::max(), target), DataError);
  EXPECT_THROW(file.document(2), DataError);
  EXPECT_THROW(file.document(-1), DataError);
  EXPECT_THROW(file.document_tokens(0, -1, 2), DataError);
}

}  // namespace
}  // namespace palimpsest
