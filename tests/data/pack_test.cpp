#include "data/tokens/pack.h"

#include <algorithm>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/tokens/token_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// A folder with two good texts, and the place for the output.
struct Fixture {
  TemporaryDirectory directory;
  fs::path corpus = directory / "corpus", output = directory / "out" / "tokens.h5";
  ByteTokenizer tokenizer;

  Fixture() {
    fs::create_directory(corpus);
    overwrite_file(corpus / "one.txt", "first text");
    overwrite_file(corpus / "two.txt", "ein zweiter Text: ä");
  }
  void add_bad_files() {
    overwrite_file(corpus / "empty.txt", "");
    overwrite_file(corpus / "latin.txt", "\xE9");
    fs::create_symlink("nowhere", corpus / "zz.txt");
  }
  PackReport pack(PackOptions options = {}) { return pack_folder(corpus, output, tokenizer, options); }
};

TEST(Pack, PacksEveryText) {
  Fixture fixture;
  int calls = 0;
  const PackReport report =
      pack_folder(fixture.corpus, fixture.output, fixture.tokenizer, {}, [&](const PackReport& so_far) {
        EXPECT_EQ(so_far.files_read, ++calls);
        EXPECT_EQ(so_far.files, 2);
      });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(report.documents, 2);
  EXPECT_EQ(report.words, 6);
  EXPECT_EQ(report.bytes, 30);
  EXPECT_EQ(report.tokens, 34);
  EXPECT_TRUE(report.problems.empty());

  const TokenFile file(fixture.output);
  file.verify();
  EXPECT_EQ(file.token_count(), 34);
  EXPECT_EQ(file.word_count(), 6);
  EXPECT_EQ(file.byte_count(), 30);
  EXPECT_EQ(file.document(1).name, "two");
  EXPECT_EQ(file.document(1).words, 4);
  EXPECT_EQ(file.tokenizer()->decode(file.document_tokens(1, 0, 100)), "ein zweiter Text: ä");
}

TEST(Pack, PassesUnusableFilesOver) {
  Fixture fixture;
  fixture.add_bad_files();
  const PackReport report = fixture.pack();
  EXPECT_EQ(report.documents, 2);
  EXPECT_EQ(report.files, 5);
  ASSERT_EQ(report.problems.size(), 3u);
  EXPECT_EQ(report.problems[0].kind, CorpusProblem::Kind::empty);
  EXPECT_EQ(report.problems[1].kind, CorpusProblem::Kind::not_utf8);
  EXPECT_EQ(report.problems[2].kind, CorpusProblem::Kind::unreadable);
  EXPECT_EQ(TokenFile(fixture.output).document_count(), 2);
}

TEST(Pack, RefusesUnusableFilesWhenStrict) {
  Fixture fixture;
  fixture.add_bad_files();
  const std::string message = message_of<DataError>([&] { fixture.pack({.strict = true}); });
  EXPECT_TRUE(holds(message, "3 of 5 files cannot be used")) << message;
  for (const char* name :
       {"empty.txt: is empty", "latin.txt: is not UTF-8: byte 0xE9 at offset 0", "zz.txt: cannot be read"}) {
    EXPECT_TRUE(holds(message, name)) << message;
  }
  EXPECT_TRUE(fs::is_empty(fixture.output.parent_path()));
}

TEST(Pack, RefusesAFolderWithoutText) {
  Fixture fixture;
  fs::remove_all(fixture.corpus);
  fs::create_directory(fixture.corpus);
  EXPECT_TRUE(holds(message_of<DataError>([&] { fixture.pack(); }), "holds no *.txt or *.jsonl file"));
  fixture.add_bad_files();
  EXPECT_TRUE(holds(message_of<DataError>([&] { fixture.pack(); }), "none of 3 files can be used"));
  EXPECT_FALSE(fs::exists(fixture.output));
}

TEST(Pack, KeepsAnExistingFileUnlessAsked) {
  Fixture fixture;
  fixture.pack();
  const std::string before = file_content(fixture.output);
  overwrite_file(fixture.corpus / "three.txt", "more");
  EXPECT_TRUE(holds(message_of<WriteError>([&] { fixture.pack(); }), "exists already"));
  overwrite_file(fixture.corpus / "latin.txt", "\xE9");
  EXPECT_THROW(fixture.pack({.strict = true, .overwrite = true}), DataError);
  EXPECT_EQ(file_content(fixture.output), before);
  EXPECT_EQ(fixture.pack({.overwrite = true}).documents, 3);
  EXPECT_EQ(TokenFile(fixture.output).document_count(), 3);
}

TEST(Pack, WritesIntoTheWorkingFolder) {
  Fixture fixture;
  const fs::path before = fs::current_path();
  fs::current_path(fixture.directory.path());
  EXPECT_NO_THROW(pack_folder(fixture.corpus, "new.h5", fixture.tokenizer, {.overwrite = true}));
  EXPECT_NO_THROW(pack_folder(fixture.corpus, "other.h5", fixture.tokenizer, {}));
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(fixture.directory / "new.h5"));
}

TEST(Pack, MakesLineEndsLineFeedsWhereAsked) {
  Fixture fixture;
  overwrite_file(fixture.corpus / "lines.txt", "one\r\ntwo\r\r\n\nthree\r");
  const auto text = [&](const PackOptions& options) {
    fixture.pack(options);
    const TokenFile file(fixture.output);
    return std::pair(file.tokenizer()->decode(file.document_tokens(0, 0, 100)), file.document(0).bytes);
  };
  EXPECT_EQ(text({}), std::pair(std::string("one\r\ntwo\r\r\n\nthree\r"), std::int64_t{18}));
  EXPECT_EQ(text({.overwrite = true, .line_ends = LineEnds::lf}),
            std::pair(std::string("one\ntwo\r\n\nthree\r"), std::int64_t{16}));
}

TEST(Pack, GivesTheSameFileAgainWithAnyNumberOfThreads) {
  Fixture fixture;
  fixture.add_bad_files();
  for (int i = 0; i < 40; ++i) {
    overwrite_file(fixture.corpus / fmt::format("{:02}.txt", i), std::string(1 + (i * 7919) % 5000, 'a' + i % 26));
  }
  fixture.pack();
  const std::string first = file_content(fixture.output);
  for (const int threads : {1, 2, 5}) {
    for (const std::uint64_t bytes : {1, 3000, 1 << 20}) {
      const PackReport report = fixture.pack({.overwrite = true, .threads = threads, .bytes_in_flight = bytes});
      EXPECT_EQ(report.documents, 42);
      EXPECT_EQ(report.bytes_read, report.bytes_found);
      EXPECT_TRUE(file_content(fixture.output) == first) << threads << " threads, " << bytes << " bytes";
    }
  }
}

/// Joins lines, as the normalisation of many SentencePiece models does.
class LineJoiner final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::string joined(text);
    std::ranges::replace(joined, '\n', ' ');
    return bytes_.encode(joined);
  }
  std::string decode(std::span<const std::int32_t> tokens) const override { return bytes_.decode(tokens); }
  std::int64_t vocab_size() const override { return bytes_.vocab_size(); }
  std::int32_t begin_id() const override { return bytes_.begin_id(); }
  std::int32_t end_id() const override { return bytes_.end_id(); }
  std::string identity() const override { return bytes_.identity(); }
  std::string token_bytes(std::int32_t token, bool& at_start) const override {
    return bytes_.token_bytes(token, at_start);
  }

 private:
  ByteTokenizer bytes_;
};

TEST(Pack, RefusesDocumentsThatDoNotComeBack) {
  Fixture fixture;
  overwrite_file(fixture.corpus / "lines.txt", "first\nsecond\nthird");
  const std::string message =
      message_of<DataError>([&] { pack_folder(fixture.corpus, fixture.output, LineJoiner(), {}); });
  EXPECT_TRUE(holds(message, "does not give 1 of the 3 documents back")) << message;
  EXPECT_TRUE(holds(message, R"(lines: byte 5 (line 1): "\x0Asecond\x0Athird" comes back as " second third")"))
      << message;
  EXPECT_TRUE(fs::is_empty(fixture.output.parent_path()));
}

TEST(Pack, NotesLossesThatAreAllowed) {
  Fixture fixture;
  overwrite_file(fixture.corpus / "lines.txt", "first\nsecond");
  const PackReport report = pack_folder(fixture.corpus, fixture.output, LineJoiner(), {.allow_lossy = true});
  EXPECT_EQ(report.documents, 3);
  EXPECT_EQ(report.lossy_documents, 1);
  ASSERT_EQ(report.lossy.size(), 1u);
  EXPECT_EQ(report.lossy[0].name, "lines");
  EXPECT_EQ(TokenFile(fixture.output).lossy_documents(), 1);
  EXPECT_EQ(fixture.pack({.overwrite = true}).lossy_documents, 0);
  EXPECT_EQ(TokenFile(fixture.output).lossy_documents(), 0);
}

TEST(Pack, StopsReadingWhenLossesAreTheRule) {
  Fixture fixture;
  for (int i = 0; i < 30; ++i) overwrite_file(fixture.corpus / fmt::format("lines-{:02}.txt", i), "one\ntwo");
  const std::string message =
      message_of<DataError>([&] { pack_folder(fixture.corpus, fixture.output, LineJoiner(), {}); });
  EXPECT_TRUE(holds(message, "at least 20 of the 20 documents")) << message;
  EXPECT_TRUE(holds(message, "lines-19: ")) << message;
  EXPECT_FALSE(holds(message, "lines-20: ")) << message;
}

}  // namespace
}  // namespace palimpsest
