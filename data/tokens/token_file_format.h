// What the reader and the writer of token files share: names, versions and checksums.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/io/file_hash.h"

namespace palimpsest::token_file_format {

inline constexpr const char* format_name = "palimpsest token file";
// What a file is written as: without masked spans and with them. Programs that know the first alone refuse the second.
inline constexpr std::int64_t plain_version = 1, masked_version = 2;

inline constexpr const char* tokens_name = "tokens";
inline constexpr const char* offsets_name = "documents/offsets";
inline constexpr const char* words_name = "documents/words";
inline constexpr const char* bytes_name = "documents/bytes";
inline constexpr const char* names_name = "documents/names";
inline constexpr const char* titles_name = "documents/titles";  // absent, like the two below, where nothing is known
inline constexpr const char* years_name = "documents/years";
inline constexpr const char* origins_checksum_name = "origins_checksum";  // an attribute
// In files of masked_version alone:
inline constexpr const char* masked_name = "documents/masked";
inline constexpr const char* target_words_name = "documents/target_words";
inline constexpr const char* target_bytes_name = "documents/target_bytes";
inline constexpr const char* model_name = "tokenizer_model";
inline constexpr const char* lossy_documents_name = "lossy_documents";  // an attribute, absent for none

inline constexpr std::int64_t max_vocab_size = std::int64_t{1} << 30;

/// Whether the tokens of such a vocabulary are stored as uint16 rather than int32.
constexpr bool is_narrow(std::int64_t vocab_size) { return vocab_size <= 65536; }

/// The checksum of the tokens as stored, little-endian.
class TokenHash {
 public:
  explicit TokenHash(std::int64_t vocab_size) : narrow_(is_narrow(vocab_size)) {}
  void update(std::span<const std::int32_t> tokens);
  std::string digest() const { return hash_.digest(); }

 private:
  bool narrow_;
  FileHash hash_;
};

/// Everything a token file holds besides the tokens themselves.
struct Content {
  std::string_view tokens_checksum, tokenizer_identity;
  std::int64_t vocab_size, begin_id, end_id;
  std::span<const std::int64_t> offsets, words, bytes;
  std::string_view names, tokenizer_model;
  std::span<const std::int64_t> masked, target_words, target_bytes;  // all empty where nothing is masked
};

/// One checksum for all of it, in that order, texts followed by a zero byte. Without masks it is what it was before
/// there were any.
std::string content_checksum(const Content& content);

/// One checksum for titles and years. They stand outside the checksum above, which names what is trained on.
std::string origins_checksum(std::string_view titles, std::span<const std::int64_t> years);

}  // namespace palimpsest::token_file_format
