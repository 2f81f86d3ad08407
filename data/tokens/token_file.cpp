// Reading token files; token_file_writer.cpp writes them.
#include "data/tokens/token_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/tokens/token_file_format.h"

namespace palimpsest {

using namespace token_file_format;

namespace {

/// Sum of values that are known to be non-negative; nothing when it exceeds 63 bits.
bool sum_of(const std::vector<std::int64_t>& values, std::int64_t& sum) {
  for (const std::int64_t value : values) {
    if (value < 0 || __builtin_add_overflow(sum, value, &sum)) return false;
  }
  return true;
}

template <class Stored>
void read_as(const Hdf5File& file, std::int64_t begin, std::span<std::int32_t> target) {
  std::vector<Stored> stored(target.size());
  file.read_slice(tokens_name, begin, std::span<Stored>(stored));
  std::copy(stored.begin(), stored.end(), target.begin());
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : file_(Hdf5File::open_untrusted(path)) {
  if (!file_.has_attribute("format") || file_.text_attribute("format") != format_name) {
    throw FileError(fmt::format("{}: is not a token file; `palimpsest pack` makes them", path.string()));
  }
  const std::int64_t version = file_.integer_attribute("format_version");
  if (version != format_version) {
    throw FileError(fmt::format("{}: token file format {}, expected {}", path.string(), version, format_version));
  }
  vocab_size_ = file_.integer_attribute("vocab_size");
  const std::int64_t begin_id = file_.integer_attribute("begin_id"), end_id = file_.integer_attribute("end_id");
  if (vocab_size_ < 1 || vocab_size_ > max_vocab_size) fail(fmt::format("vocab_size is {}", vocab_size_));
  for (const std::int64_t id : {begin_id, end_id}) {
    if (id < 0 || id >= vocab_size_) fail(fmt::format("token {} lies outside the vocabulary of {}", id, vocab_size_));
  }
  begin_id_ = static_cast<std::int32_t>(begin_id);
  end_id_ = static_cast<std::int32_t>(end_id);
  tokenizer_identity_ = file_.text_attribute("tokenizer");
  tokens_checksum_ = file_.text_attribute("tokens_checksum");
  checksum_ = file_.text_attribute("checksum");
  read_document_table();
  check_document_table();
  if (file_.has_attribute(lossy_documents_name)) lossy_documents_ = file_.integer_attribute(lossy_documents_name);
  if (lossy_documents_ < 0 || lossy_documents_ > document_count()) {
    fail(fmt::format("{} is {}, expected 0 to {}", lossy_documents_name, lossy_documents_, document_count()));
  }
}

void TokenFile::read_document_table() {
  document_offsets_ = file_.read_vector<std::int64_t>(offsets_name);
  words_ = file_.read_vector<std::int64_t>(words_name);
  bytes_ = file_.read_vector<std::int64_t>(bytes_name);
  const auto names = file_.read_vector<std::uint8_t>(names_name);
  names_.assign(names.begin(), names.end());
  const auto model = file_.read_vector<std::uint8_t>(model_name);
  tokenizer_model_.assign(model.begin(), model.end());
}

void TokenFile::check_document_table() {
  const std::size_t count = words_.size();
  if (count == 0) fail("holds no document");
  if (document_offsets_.size() != count + 1 || bytes_.size() != count) {
    fail(fmt::format("{} has {} entries, {} {} and {} {}, expected one more than the others", offsets_name,
                     document_offsets_.size(), words_name, count, bytes_name, bytes_.size()));
  }
  if (document_offsets_.front() != 0)
    fail(fmt::format("{}: entry 0 is {}, expected 0", offsets_name, document_offsets_.front()));
  for (std::size_t i = 1; i <= count; ++i) {
    // A document has at least its begin and end token.
    if (document_offsets_[i] < document_offsets_[i - 1] || document_offsets_[i] - document_offsets_[i - 1] < 2) {
      fail(fmt::format("{}: entry {} is {} after {}, expected at least 2 more", offsets_name, i, document_offsets_[i],
                       document_offsets_[i - 1]));
    }
  }
  const std::int64_t stored = file_.length(tokens_name);
  if (document_offsets_.back() != stored) {
    fail(fmt::format("{}: the last entry is {}, but {} tokens are stored", offsets_name, document_offsets_.back(),
                     stored));
  }
  if (!sum_of(words_, word_count_)) fail(fmt::format("{}: counts out of range", words_name));
  if (!sum_of(bytes_, byte_count_)) fail(fmt::format("{}: counts out of range", bytes_name));
  for (std::size_t begin = 0; begin < names_.size();) {
    name_begins_.push_back(begin);
    begin = names_.find('\0', begin) == std::string::npos ? names_.size() : names_.find('\0', begin) + 1;
  }
  if (name_begins_.size() != count || names_.back() != '\0') {
    fail(fmt::format("{}: {} names, expected {}", names_name, name_begins_.size(), count));
  }
  const std::string checksum = content_checksum({tokens_checksum_, tokenizer_identity_, vocab_size_, begin_id_, end_id_,
                                                 document_offsets_, words_, bytes_, names_, tokenizer_model_});
  if (checksum != checksum_)
    fail(fmt::format("the checksum of the document table is {}, expected {}", checksum, checksum_));
}

DocumentInfo TokenFile::document(std::int64_t index) const {
  if (index < 0 || index >= document_count())
    fail(fmt::format("document {} of {} is asked for", index, document_count()));
  const auto i = static_cast<std::size_t>(index);
  return {std::string_view(names_.c_str() + name_begins_[i]), document_offsets_[i],
          document_offsets_[i + 1] - document_offsets_[i], words_[i], bytes_[i]};
}

void TokenFile::read(std::int64_t begin, std::span<std::int32_t> target) const {
  const auto count = static_cast<std::int64_t>(target.size());
  if (begin < 0 || begin > token_count() || count > token_count() - begin) {
    fail(fmt::format("{} tokens from token {} are asked for, the file holds {}", count, begin, token_count()));
  }
  if (is_narrow(vocab_size_)) {
    read_as<std::uint16_t>(file_, begin, target);
  } else {
    file_.read_slice(tokens_name, begin, target);
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] < 0 || target[i] >= vocab_size_) {
      fail(fmt::format("token {} at offset {} is outside the vocabulary of {} tokens", target[i],
                       begin + static_cast<std::int64_t>(i), vocab_size_));
    }
  }
}

std::vector<std::int32_t> TokenFile::document_tokens(std::int64_t document, std::int64_t begin,
                                                     std::int64_t count) const {
  const DocumentInfo info = this->document(document);
  if (begin < 0 || count < 0) fail(fmt::format("{} tokens from token {} of a document are asked for", count, begin));
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::clamp<std::int64_t>(info.tokens - begin, 0, count)));
  if (!tokens.empty()) read(info.begin + begin, tokens);
  return tokens;
}

void TokenFile::verify() const {
  constexpr std::int64_t piece = 1 << 20;
  TokenHash hash(vocab_size_);
  for (std::int64_t begin = 0; begin < token_count(); begin += piece) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(piece, token_count() - begin)));
    read(begin, tokens);
    hash.update(tokens);
    // The documents that start, and those that end, within this piece.
    const std::int64_t end = begin + static_cast<std::int64_t>(tokens.size());
    const auto require = [&](std::int64_t offset, std::int32_t expected, const char* what) {
      const std::int32_t found =
          offset < begin || offset >= end ? expected : tokens[static_cast<std::size_t>(offset - begin)];
      if (found != expected)
        fail(fmt::format("token {} at offset {}, expected the {} token {}", found, offset, what, expected));
    };
    auto boundary = std::lower_bound(document_offsets_.begin(), document_offsets_.end(), begin);
    for (; boundary != document_offsets_.end() && *boundary <= end; ++boundary) {
      if (boundary + 1 != document_offsets_.end()) require(*boundary, begin_id_, "begin");
      if (boundary != document_offsets_.begin()) require(*boundary - 1, end_id_, "end");
    }
  }
  if (hash.digest() != tokens_checksum_) {
    fail(fmt::format("the checksum of the tokens is {}, expected {}", hash.digest(), tokens_checksum_));
  }
}

void TokenFile::fail(const std::string& message) const {
  throw DataError(fmt::format("{}: {}", path().string(), message));
}

}  // namespace palimpsest
