// Reading token files; token_file_writer.cpp writes them.
#include "data/tokens/token_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "data/tokens/token_file_format.h"
#include "data/tokens/token_shards.h"

namespace palimpsest {

using namespace token_file_format;

namespace {

constexpr std::int64_t verified_at_once = 1 << 20;

template <class Stored>
void read_as(const Hdf5File& file, std::int64_t begin, std::span<std::int32_t> target) {
  std::vector<Stored> stored(target.size());
  file.read_slice(tokens_name, begin, std::span<Stored>(stored));
  std::copy(stored.begin(), stored.end(), target.begin());
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : path_(path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    TokenShards shards = open_token_shards(path);
    table_ = std::move(shards.table);
    for (std::size_t i = 0; i < shards.files.size(); ++i) {
      parts_.push_back({std::move(shards.files[i]), shards.begins[i]});
    }
  } else {
    parts_.push_back({Hdf5File::open_untrusted(path)});
    table_ = read_token_table(parts_.front().file);
  }
  name_begins_ = begins_of_names(table_.names);
  title_begins_ = begins_of_names(table_.titles);
  word_count_ = std::accumulate(table_.words.begin(), table_.words.end(), std::int64_t{0});
  for (const TokenSpan& span : masked(0, token_count())) masked_tokens_ += span.end - span.begin;
  byte_count_ = std::accumulate(table_.bytes.begin(), table_.bytes.end(), std::int64_t{0});
}

DocumentInfo TokenFile::document(std::int64_t index) const {
  if (index < 0 || index >= document_count())
    fail(fmt::format("document {} of {} is asked for", index, document_count()));
  const auto i = static_cast<std::size_t>(index);
  DocumentInfo info = {std::string_view(table_.names.c_str() + name_begins_[i]),
                       table_.offsets[i],
                       table_.offsets[i + 1] - table_.offsets[i],
                       table_.words[i],
                       table_.bytes[i],
                       {},
                       0};
  if (!table_.years.empty()) {
    info.title = table_.titles.c_str() + title_begins_[i];
    info.year = table_.years[i];
  }
  return info;
}

DocumentTargets TokenFile::targets(std::int64_t index) const {
  const DocumentInfo info = document(index);
  if (!has_masks()) return {info.tokens - 2, info.words, info.bytes};
  const auto i = static_cast<std::size_t>(index);
  DocumentTargets targets = {info.tokens - 2, table_.target_words[i], table_.target_bytes[i]};
  for (const TokenSpan& span : masked(info.begin + 1, info.begin + info.tokens - 1)) {
    targets.tokens -= span.end - span.begin;
  }
  return targets;
}

void TokenFile::read(std::int64_t begin, std::span<std::int32_t> target) const {
  const auto count = static_cast<std::int64_t>(target.size());
  if (begin < 0 || begin > token_count() || count > token_count() - begin) {
    fail(fmt::format("{} tokens from token {} are asked for, the file holds {}", count, begin, token_count()));
  }
  // The part that holds the first token, and as many after it as the rest needs.
  auto part = std::ranges::upper_bound(parts_, begin, {}, &Part::begin) - 1;
  for (std::size_t done = 0; done < target.size(); ++part) {
    const std::int64_t at = begin + static_cast<std::int64_t>(done);
    const std::int64_t end = part + 1 == parts_.end() ? token_count() : (part + 1)->begin;
    const auto piece = target.subspan(done, std::min(target.size() - done, static_cast<std::size_t>(end - at)));
    if (is_narrow(vocab_size())) {
      read_as<std::uint16_t>(part->file, at - part->begin, piece);
    } else {
      part->file.read_slice(tokens_name, at - part->begin, piece);
    }
    done += piece.size();
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] < 0 || target[i] >= vocab_size()) {
      fail(fmt::format("token {} at offset {} is outside the vocabulary of {} tokens", target[i],
                       begin + static_cast<std::int64_t>(i), vocab_size()));
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
  TokenHash hash(vocab_size());
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const std::int64_t end = i + 1 < parts_.size() ? parts_[i + 1].begin : token_count();
    TokenHash part_hash(vocab_size());
    for (std::int64_t begin = parts_[i].begin; begin < end; begin += verified_at_once) {
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(verified_at_once, end - begin)));
      read(begin, tokens);
      hash.update(tokens);
      part_hash.update(tokens);
      check_boundaries(begin, tokens);
    }
    const std::string expected = parts_[i].file.text_attribute("tokens_checksum");
    if (part_hash.digest() != expected) {
      throw DataError(fmt::format("{}: the checksum of the tokens is {}, expected {}", parts_[i].file.path().string(),
                                  part_hash.digest(), expected));
    }
  }
  if (hash.digest() != table_.tokens_checksum) {
    fail(fmt::format("the checksum of the tokens is {}, expected {}", hash.digest(), table_.tokens_checksum));
  }
}

void TokenFile::check_boundaries(std::int64_t begin, std::span<const std::int32_t> tokens) const {
  const std::int64_t end = begin + static_cast<std::int64_t>(tokens.size());
  const auto require = [&](std::int64_t offset, std::int32_t expected, const char* what) {
    const std::int32_t found =
        offset < begin || offset >= end ? expected : tokens[static_cast<std::size_t>(offset - begin)];
    if (found != expected)
      fail(fmt::format("token {} at offset {}, expected the {} token {}", found, offset, what, expected));
  };
  auto boundary = std::ranges::lower_bound(table_.offsets, begin);
  for (; boundary != table_.offsets.end() && *boundary <= end; ++boundary) {
    if (boundary + 1 != table_.offsets.end()) require(*boundary, begin_id(), "begin");
    if (boundary != table_.offsets.begin()) require(*boundary - 1, end_id(), "end");
  }
}

void TokenFile::fail(const std::string& message) const {
  throw DataError(fmt::format("{}: {}", path_.string(), message));
}

}  // namespace palimpsest
