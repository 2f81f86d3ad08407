#include "data/tokens/token_table.h"

#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "data/tokens/token_file_format.h"
#include "data/tokens/token_masks.h"

namespace palimpsest {

using namespace token_file_format;

namespace {

/// Whether values are not negative and their sum has 63 bits at most.
bool can_be_summed(const std::vector<std::int64_t>& values) {
  std::int64_t sum = 0;
  for (const std::int64_t value : values) {
    if (value < 0 || __builtin_add_overflow(sum, value, &sum)) return false;
  }
  return true;
}

std::string read_bytes(const Hdf5File& file, const char* name) {
  const auto bytes = file.read_vector<std::uint8_t>(name);
  return {bytes.begin(), bytes.end()};
}

void check(const Hdf5File& file, const TokenTable& table) {
  const auto fail = [&](const std::string& message) {
    throw DataError(fmt::format("{}: {}", file.path().string(), message));
  };
  const std::vector<std::int64_t>& offsets = table.offsets;
  const std::size_t count = table.words.size();
  if (count == 0) fail("holds no document");
  if (offsets.size() != count + 1 || table.bytes.size() != count) {
    fail(fmt::format("{} has {} entries, {} {} and {} {}, expected one more than the others", offsets_name,
                     offsets.size(), words_name, count, bytes_name, table.bytes.size()));
  }
  if (offsets.front() != 0) fail(fmt::format("{}: entry 0 is {}, expected 0", offsets_name, offsets.front()));
  for (std::size_t i = 1; i <= count; ++i) {
    // A document has at least its begin and end token.
    if (offsets[i] < offsets[i - 1] || offsets[i] - offsets[i - 1] < 2) {
      fail(fmt::format("{}: entry {} is {} after {}, expected at least 2 more", offsets_name, i, offsets[i],
                       offsets[i - 1]));
    }
  }
  const std::int64_t stored = file.length(tokens_name);
  if (offsets.back() != stored) {
    fail(fmt::format("{}: the last entry is {}, but {} tokens are stored", offsets_name, offsets.back(), stored));
  }
  check_sums(table, file.path());
  const std::size_t names = begins_of_names(table.names).size();
  if (names != count || table.names.back() != '\0') {
    fail(fmt::format("{}: {} names, expected {}", names_name, names, count));
  }
  if (file.contains(titles_name) || file.contains(years_name)) {
    const std::size_t titles = begins_of_names(table.titles).size();
    if (titles != count || table.titles.back() != '\0' || table.years.size() != count) {
      fail(fmt::format("{} has {} titles, {} {} entries, expected {}", titles_name, titles, years_name,
                       table.years.size(), count));
    }
    const std::string expected = file.text_attribute(origins_checksum_name);
    const std::string found = origins_checksum(table.titles, table.years);
    if (found != expected) fail(fmt::format("the checksum of titles and years is {}, expected {}", found, expected));
  }
  check_masks(table, file.path());
  const std::string checksum = table.content_checksum();
  if (checksum != table.checksum)
    fail(fmt::format("the checksum of the document table is {}, expected {}", checksum, table.checksum));
  if (table.lossy_documents < 0 || table.lossy_documents > static_cast<std::int64_t>(count)) {
    fail(fmt::format("{} is {}, expected 0 to {}", lossy_documents_name, table.lossy_documents, count));
  }
}

}  // namespace

std::string TokenTable::content_checksum() const {
  return token_file_format::content_checksum({tokens_checksum, tokenizer_identity, vocab_size, begin_id, end_id,
                                              offsets, words, bytes, names, tokenizer_model, masked, target_words,
                                              target_bytes});
}

void TokenTable::append_masks(const TokenTable& other, std::int64_t tokens) {
  if (masked.empty() && other.masked.empty()) return;
  if (masked.empty()) {  // what has none so far is predicted as a whole
    target_words = words;
    target_bytes = bytes;
  }
  for (const std::int64_t bound : other.masked) masked.push_back(tokens + bound);
  const auto& more_words = other.masked.empty() ? other.words : other.target_words;
  const auto& more_bytes = other.masked.empty() ? other.bytes : other.target_bytes;
  target_words.insert(target_words.end(), more_words.begin(), more_words.end());
  target_bytes.insert(target_bytes.end(), more_bytes.begin(), more_bytes.end());
}

void TokenTable::append(const TokenTable& other) {
  const std::int64_t tokens = offsets.back();
  for (std::size_t i = 1; i < other.offsets.size(); ++i) offsets.push_back(tokens + other.offsets[i]);
  append_masks(other, tokens);
  words.insert(words.end(), other.words.begin(), other.words.end());
  bytes.insert(bytes.end(), other.bytes.begin(), other.bytes.end());
  names += other.names;
  if (!years.empty() || !other.years.empty()) {
    const auto pad_to = [this](std::size_t documents) {
      titles.append(documents - years.size(), '\0');
      years.resize(documents);
    };
    pad_to(words.size() - other.words.size());
    titles += other.titles;
    years.insert(years.end(), other.years.begin(), other.years.end());
    pad_to(words.size());
  }
  lossy_documents += other.lossy_documents;
}

void check_sums(const TokenTable& table, const std::filesystem::path& path) {
  for (const auto& [name, values] : {std::pair{words_name, &table.words}, {bytes_name, &table.bytes}}) {
    if (!can_be_summed(*values)) throw DataError(fmt::format("{}: {}: counts out of range", path.string(), name));
  }
}

std::vector<std::size_t> begins_of_names(const std::string& names) {
  std::vector<std::size_t> begins;
  for (std::size_t begin = 0; begin < names.size();) {
    begins.push_back(begin);
    const std::size_t end = names.find('\0', begin);
    begin = end == std::string::npos ? names.size() : end + 1;
  }
  return begins;
}

TokenTable read_token_table(const Hdf5File& file) {
  const std::string path = file.path().string();
  if (!file.has_attribute("format") || file.text_attribute("format") != format_name) {
    throw FileError(fmt::format("{}: is not a token file; `palimpsest pack` makes them", path));
  }
  const std::int64_t version = file.integer_attribute("format_version");
  if (version != plain_version && version != masked_version) {
    throw FileError(
        fmt::format("{}: token file format {}, expected {} or {}", path, version, plain_version, masked_version));
  }
  TokenTable table;
  table.vocab_size = file.integer_attribute("vocab_size");
  if (table.vocab_size < 1 || table.vocab_size > max_vocab_size)
    throw DataError(fmt::format("{}: vocab_size is {}", path, table.vocab_size));
  const auto read_id = [&](const char* name) {
    const std::int64_t id = file.integer_attribute(name);
    if (id >= 0 && id < table.vocab_size) return static_cast<std::int32_t>(id);
    throw DataError(fmt::format("{}: token {} lies outside the vocabulary of {}", path, id, table.vocab_size));
  };
  table.begin_id = read_id("begin_id");
  table.end_id = read_id("end_id");
  table.tokenizer_identity = file.text_attribute("tokenizer");
  table.tokens_checksum = file.text_attribute("tokens_checksum");
  table.checksum = file.text_attribute("checksum");
  table.offsets = file.read_vector<std::int64_t>(offsets_name);
  table.words = file.read_vector<std::int64_t>(words_name);
  table.bytes = file.read_vector<std::int64_t>(bytes_name);
  table.names = read_bytes(file, names_name);
  if (file.contains(titles_name)) table.titles = read_bytes(file, titles_name);
  if (file.contains(years_name)) table.years = file.read_vector<std::int64_t>(years_name);
  table.tokenizer_model = read_bytes(file, model_name);
  if (version == masked_version) {
    table.masked = file.read_vector<std::int64_t>(masked_name);
    table.target_words = file.read_vector<std::int64_t>(target_words_name);
    table.target_bytes = file.read_vector<std::int64_t>(target_bytes_name);
    if (table.masked.empty()) {
      throw DataError(
          fmt::format("{}: {} is empty, expected spans in a file of format {}", path, masked_name, version));
    }
  }
  if (file.has_attribute(lossy_documents_name)) table.lossy_documents = file.integer_attribute(lossy_documents_name);
  check(file, table);
  return table;
}

}  // namespace palimpsest
