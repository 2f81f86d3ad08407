#include "data/tokens/document_encoder.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// Counts the bytes that it is asked to encode, and refuses texts with an exclamation mark.
class CountingTokenizer final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view text) const override {
    if (text.find('!') != std::string_view::npos) throw DataError("an exclamation mark");
    encoded += static_cast<std::int64_t>(text.size());
    return bytes_.encode(text);
  }
  std::string decode(std::span<const std::int32_t> tokens) const override { return bytes_.decode(tokens); }
  std::int64_t vocab_size() const override { return bytes_.vocab_size(); }
  std::int32_t begin_id() const override { return bytes_.begin_id(); }
  std::int32_t end_id() const override { return bytes_.end_id(); }
  std::string identity() const override { return bytes_.identity(); }
  std::string token_bytes(std::int32_t token, bool& at_start) const override {
    return bytes_.token_bytes(token, at_start);
  }

  mutable std::atomic<std::int64_t> encoded = 0;

 private:
  ByteTokenizer bytes_;
};

struct Corpus {
  TemporaryDirectory directory;
  CountingTokenizer tokenizer;

  std::vector<CorpusFile> write(const std::vector<std::size_t>& bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      overwrite_file(directory / fmt::format("{:03}.txt", i), std::string(bytes[i], static_cast<char>('a' + i % 26)));
    }
    return list_corpus(directory.path()).files;
  }
};

/// Of a text file, which is one piece with one document.
EncodingResult next(DocumentEncoder& encoder) {
  auto piece = encoder.next();
  if (!piece || !piece->ends_file || piece->documents.size() != 1) throw std::runtime_error("not one document");
  return std::move(piece->documents.front());
}

TEST(DocumentEncoder, KeepsTheOrder) {
  Corpus corpus;
  std::vector<std::size_t> bytes;
  for (std::size_t i = 0; i < 60; ++i) bytes.push_back(1 + (i * 7919) % 4000);
  const auto files = corpus.write(bytes);
  DocumentEncoder encoder(files, corpus.tokenizer, {.threads = 4, .bytes_in_flight = 10'000});
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto document = std::get<EncodedDocument>(next(encoder));
    EXPECT_EQ(document.text.tokens, std::vector<std::int32_t>(bytes[i], static_cast<std::int32_t>('a' + i % 26)));
    EXPECT_EQ(document.bytes, static_cast<std::int64_t>(bytes[i]));
    EXPECT_EQ(document.words, 1);
    EXPECT_EQ(document.text.difference, std::nullopt);
  }
  EXPECT_FALSE(encoder.next());
}

TEST(DocumentEncoder, HoldsNoMoreBytesThanItMay) {
  Corpus corpus;
  const auto files = corpus.write(std::vector<std::size_t>(50, 1000));
  DocumentEncoder encoder(files, corpus.tokenizer, {.threads = 4, .bytes_in_flight = 3500});
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    taken += std::get<EncodedDocument>(next(encoder)).bytes;
    // Time for threads that would run ahead.
    for (int yields = 0; yields < 200; ++yields) std::this_thread::yield();
    ASSERT_LE(corpus.tokenizer.encoded - taken, 3500) << i;
  }
}

TEST(DocumentEncoder, TakesADocumentLargerThanAllItMayHold) {
  Corpus corpus;
  const auto files = corpus.write({10, 5000, 10, 10});
  DocumentEncoder encoder(files, corpus.tokenizer, {.threads = 3, .bytes_in_flight = 100});
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < files.size(); ++i) bytes += std::get<EncodedDocument>(next(encoder)).bytes;
  EXPECT_EQ(bytes, 5030);
}

TEST(DocumentEncoder, PassesProblemsAndErrorsOnInTheirPlace) {
  Corpus corpus;
  corpus.write({10, 0, 10, 10, 10});
  overwrite_file(corpus.directory / "003.txt", "what!");
  const auto files = list_corpus(corpus.directory.path()).files;
  DocumentEncoder encoder(files, corpus.tokenizer, {.threads = 2, .bytes_in_flight = 1000});
  EXPECT_TRUE(std::holds_alternative<EncodedDocument>(next(encoder)));
  EXPECT_EQ(std::get<CorpusProblem>(next(encoder)).kind, CorpusProblem::Kind::empty);
  EXPECT_TRUE(std::holds_alternative<EncodedDocument>(next(encoder)));
  EXPECT_THROW(encoder.next(), DataError);
  EXPECT_TRUE(std::holds_alternative<EncodedDocument>(next(encoder)));
}

TEST(DocumentEncoder, EndsBeforeItsFilesDo) {
  Corpus corpus;
  const auto files = corpus.write(std::vector<std::size_t>(30, 1000));
  DocumentEncoder encoder(files, corpus.tokenizer, {.threads = 3, .bytes_in_flight = 2000});
  encoder.next();
}

}  // namespace
}  // namespace palimpsest
