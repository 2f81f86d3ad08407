// Token files: a split's documents as tokens, packed by `palimpsest pack`. The format, an HDF5 file or a folder of
// several (data/tokens/token_shards.h), is described in docs/file-formats.md. A document is stored as a begin token,
// the tokens of its text and an end token. The tokenizer is stored with them, so a token file needs no other file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/hdf5_file.h"
#include "data/text/document_origin.h"
#include "data/text/tokenizer.h"
#include "data/tokens/token_file_format.h"
#include "data/tokens/token_masks.h"
#include "data/tokens/token_table.h"

namespace palimpsest {

/// One document of a token file.
struct DocumentInfo {
  std::string_view name;
  std::int64_t begin = 0;   // where its begin token lies among the file's tokens
  std::int64_t tokens = 0;  // with the begin and the end token
  std::int64_t words = 0;   // of the original text, between white space
  std::int64_t bytes = 0;   // of the original text
  std::string_view title;   // empty where it is not known
  std::int64_t year = 0;    // 0 where it is not known
};

/// What of a document's text is to be predicted: all of it, unless parts are masked.
struct DocumentTargets {
  std::int64_t tokens = 0;  // without begin and end token
  std::int64_t words = 0;   // as in TextMasks
  std::int64_t bytes = 0;
};

/// A token file opened for reading. Only the document table is held in memory. Use it from one thread
/// at a time.
class TokenFile {
 public:
  /// Checks everything but the tokens, in every shard of a folder. Throws FileError when it is not a whole token file
  /// of a known version, DataError when its parts contradict each other.
  explicit TokenFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::int64_t token_count() const { return table_.offsets.back(); }
  std::int64_t document_count() const { return static_cast<std::int64_t>(table_.words.size()); }
  /// Throws DataError when there is no such document.
  DocumentInfo document(std::int64_t index) const;
  /// Where each document begins, and after them the number of tokens.
  std::span<const std::int64_t> document_offsets() const { return table_.offsets; }
  /// Whether any token is masked.
  bool has_masks() const { return !table_.masked.empty(); }
  std::int64_t masked_tokens() const { return masked_tokens_; }
  std::int64_t masked_spans() const { return static_cast<std::int64_t>(table_.masked.size()) / 2; }
  /// The masked among tokens [begin, end) of the file, ascending: no loss counts them as targets.
  std::vector<TokenSpan> masked(std::int64_t begin, std::int64_t end) const {
    return masked_between(table_.masked, begin, end);
  }
  /// Throws DataError when there is no such document.
  DocumentTargets targets(std::int64_t index) const;
  std::int64_t word_count() const { return word_count_; }
  std::int64_t byte_count() const { return byte_count_; }
  /// Documents whose text the tokens do not give back, packed so on request. Words and bytes count all of the text.
  std::int64_t lossy_documents() const { return table_.lossy_documents; }
  /// How many HDF5 files it consists of.
  std::int64_t shard_count() const { return static_cast<std::int64_t>(parts_.size()); }

  std::int64_t vocab_size() const { return table_.vocab_size; }
  std::int32_t begin_id() const { return table_.begin_id; }
  std::int32_t end_id() const { return table_.end_id; }
  const std::string& tokenizer_identity() const { return table_.tokenizer_identity; }
  std::unique_ptr<Tokenizer> tokenizer() const {
    return make_tokenizer(table_.tokenizer_identity, table_.tokenizer_model);
  }
  std::string_view tokenizer_model() const { return table_.tokenizer_model; }

  /// Names the content: equal for files with the same documents, tokens and tokenizer, in one file or in shards.
  const std::string& checksum() const { return table_.checksum; }

  /// Reads tokens [begin, begin + target.size()) of the file. Throws DataError, naming the offset, on a
  /// range outside the file or a token outside the vocabulary.
  void read(std::int64_t begin, std::span<std::int32_t> target) const;
  /// Up to `count` tokens of a document from its token `begin` on: fewer at its end, none after it.
  std::vector<std::int32_t> document_tokens(std::int64_t document, std::int64_t begin, std::int64_t count) const;

  /// Reads every token: checks the checksum, the vocabulary, and that documents start and end with the
  /// begin and end token. Throws DataError or FileError.
  void verify() const;

 private:
  /// The tokens from `begin` on stand in this file, up to where the next part begins.
  struct Part {
    Hdf5File file;
    std::int64_t begin = 0;
  };

  /// That the documents that start, and those that end, among these tokens have the begin and end token there.
  void check_boundaries(std::int64_t begin, std::span<const std::int32_t> tokens) const;
  [[noreturn]] void fail(const std::string& message) const;

  std::filesystem::path path_;
  std::vector<Part> parts_;
  TokenTable table_;
  std::vector<std::size_t> name_begins_, title_begins_;
  std::int64_t word_count_ = 0, byte_count_ = 0, masked_tokens_ = 0;
};

/// Writes a token file document by document. It appears under its name in `finish`; until then it is a
/// temporary file beside it, which goes with the writer.
class TokenFileWriter {
 public:
  /// Creates missing parent directories. Throws WriteError, also when the file exists and
  /// `overwrite` is false.
  TokenFileWriter(std::filesystem::path path, const Tokenizer& tokenizer, bool overwrite = false);
  ~TokenFileWriter();
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  /// Adds a document: the tokens of its text, the words and bytes that the text had, what is known of where it comes
  /// from, and what of it is masked. Throws DataError on a token outside the vocabulary, a zero byte in the name or
  /// title, and on masks that are not as TextMasks says or leave nothing to predict.
  void add_document(std::string_view name, std::span<const std::int32_t> text_tokens, std::int64_t words,
                    std::int64_t bytes, const DocumentOrigin& origin = {}, const TextMasks& masks = {});
  /// Notes that the tokens of so many documents do not give their text back.
  void set_lossy_documents(std::int64_t count) { lossy_documents_ = count; }
  /// Completes the file, forces it to disk and gives it its name. Throws WriteError, or DataError when
  /// there is no document.
  void finish();

  std::int64_t document_count() const { return static_cast<std::int64_t>(words_.size()); }
  std::int64_t token_count() const { return document_offsets_.back(); }

 private:
  void add_masks(std::string_view name, std::int64_t tokens, const TextMasks& masks);
  void flush();

  std::filesystem::path path_, temporary_;
  Hdf5File file_;
  std::int64_t vocab_size_;
  std::int32_t begin_id_, end_id_;
  std::string tokenizer_identity_, tokenizer_model_;
  token_file_format::TokenHash tokens_hash_;
  std::vector<std::int32_t> buffer_;  // tokens not yet written
  std::vector<std::int64_t> document_offsets_{0}, words_, bytes_, years_;
  std::vector<std::int64_t> masked_, target_words_, target_bytes_;  // as in TokenTable
  std::string names_, titles_;
  std::int64_t lossy_documents_ = 0;
};

}  // namespace palimpsest
