// Writing token files; token_file.cpp reads them.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/temporary_file.h"
#include "data/tokens/token_file.h"
#include "data/tokens/token_file_format.h"

namespace palimpsest {

namespace fs = std::filesystem;
using namespace token_file_format;

namespace {

constexpr std::size_t buffered_tokens = std::size_t{1} << 20;

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

fs::path prepare(const fs::path& path, bool overwrite) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error, ignored;
  if (fs::is_directory(path, ignored))
    throw WriteError(fmt::format("{}: is a folder, expected a file's name", path.string()));
  if (!overwrite && fs::exists(path, ignored)) throw WriteError(fmt::format("{}: exists already", path.string()));
  fs::create_directories(folder, error);
  if (error) throw WriteError(fmt::format("{}: cannot be created: {}", folder.string(), error.message()));
  remove_abandoned_files(folder);
  fs::path temporary = temporary_file_for(path);
  fs::remove(temporary, ignored);
  return temporary;
}

}  // namespace

TokenFileWriter::TokenFileWriter(fs::path path, const Tokenizer& tokenizer, bool overwrite)
    : path_(std::move(path)),
      temporary_(prepare(path_, overwrite)),
      file_(Hdf5File::create(temporary_)),
      vocab_size_(tokenizer.vocab_size()),
      begin_id_(tokenizer.begin_id()),
      end_id_(tokenizer.end_id()),
      tokenizer_identity_(tokenizer.identity()),
      tokenizer_model_(tokenizer.model()),
      tokens_hash_(vocab_size_) {}

TokenFileWriter::~TokenFileWriter() {
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void TokenFileWriter::add_document(std::string_view name, std::span<const std::int32_t> text_tokens, std::int64_t words,
                                   std::int64_t bytes, const DocumentOrigin& origin, const TextMasks& masks) {
  if (name.find('\0') != std::string_view::npos || origin.title.find('\0') != std::string::npos) {
    throw DataError(
        fmt::format("{}: the name or the title of document {} has a zero byte", path_.string(), document_count()));
  }
  for (const std::int32_t token : text_tokens) {
    if (token < 0 || token >= vocab_size_) {
      throw DataError(fmt::format("{}: document \"{}\" has token {}, outside the vocabulary of {} tokens",
                                  path_.string(), name, token, vocab_size_));
    }
  }
  add_masks(name, static_cast<std::int64_t>(text_tokens.size()), masks);
  buffer_.push_back(begin_id_);
  buffer_.insert(buffer_.end(), text_tokens.begin(), text_tokens.end());
  buffer_.push_back(end_id_);
  document_offsets_.push_back(document_offsets_.back() + static_cast<std::int64_t>(text_tokens.size()) + 2);
  if (!masked_.empty()) {
    target_words_.push_back(masks.spans.empty() ? words : masks.target_words);
    target_bytes_.push_back(masks.spans.empty() ? bytes : masks.target_bytes);
  }
  words_.push_back(words);
  bytes_.push_back(bytes);
  names_ += name;
  names_ += '\0';
  titles_ += origin.title;
  titles_ += '\0';
  years_.push_back(origin.year);
  if (buffer_.size() >= buffered_tokens) flush();
}

void TokenFileWriter::add_masks(std::string_view name, std::int64_t tokens, const TextMasks& masks) {
  if (masks.spans.empty()) return;
  if (masked_.empty()) {  // what came before is predicted as a whole
    target_words_ = words_;
    target_bytes_ = bytes_;
  }
  if (!append_spans(masks.spans, document_offsets_.back() + 1, tokens, masked_)) {
    throw DataError(
        fmt::format("{}: the masks of document \"{}\" overlap, lie outside its {} tokens or leave none to predict",
                    path_.string(), name, tokens));
  }
}

void TokenFileWriter::flush() {
  tokens_hash_.update(buffer_);
  if (is_narrow(vocab_size_)) {
    const std::vector<std::uint16_t> narrow(buffer_.begin(), buffer_.end());
    file_.append(tokens_name, std::span(narrow));
  } else {
    file_.append(tokens_name, std::span<const std::int32_t>(buffer_));
  }
  buffer_.clear();
}

void TokenFileWriter::finish() {
  if (words_.empty()) throw DataError(fmt::format("{}: there is no document to write", path_.string()));
  flush();
  file_.write(offsets_name, document_offsets_);
  file_.write(words_name, words_);
  file_.write(bytes_name, bytes_);
  file_.write(names_name, bytes_of(names_));
  const bool origins_known =
      titles_.size() > years_.size() || std::ranges::any_of(years_, [](std::int64_t year) { return year != 0; });
  if (origins_known) {
    file_.write(titles_name, bytes_of(titles_));
    file_.write(years_name, years_);
    file_.write_attribute(origins_checksum_name, origins_checksum(titles_, years_));
  }
  if (!masked_.empty()) {
    file_.write(masked_name, masked_);
    file_.write(target_words_name, target_words_);
    file_.write(target_bytes_name, target_bytes_);
  }
  file_.write(model_name, bytes_of(tokenizer_model_));
  const std::string tokens_checksum = tokens_hash_.digest();
  file_.write_attribute("format", format_name);
  file_.write_attribute("format_version", masked_.empty() ? plain_version : masked_version);
  file_.write_attribute("tokenizer", tokenizer_identity_);
  file_.write_attribute("vocab_size", vocab_size_);
  file_.write_attribute("begin_id", std::int64_t{begin_id_});
  file_.write_attribute("end_id", std::int64_t{end_id_});
  file_.write_attribute("tokens_checksum", tokens_checksum);
  if (lossy_documents_ > 0) file_.write_attribute(lossy_documents_name, lossy_documents_);
  file_.write_attribute("checksum", content_checksum({tokens_checksum, tokenizer_identity_, vocab_size_, begin_id_,
                                                      end_id_, document_offsets_, words_, bytes_, names_,
                                                      tokenizer_model_, masked_, target_words_, target_bytes_}));
  file_.close();
  synchronize_to_disk(temporary_);
  if (const auto error = rename_into_place(temporary_, path_))
    throw WriteError(fmt::format("{}: cannot be replaced: {}", path_.string(), error.message()));
  synchronize_to_disk(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

}  // namespace palimpsest
