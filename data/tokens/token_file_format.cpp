#include "data/tokens/token_file_format.h"

#include <array>
#include <bit>
#include <vector>

namespace palimpsest::token_file_format {

static_assert(std::endian::native == std::endian::little, "checksums are defined over little-endian values");

void TokenHash::update(std::span<const std::int32_t> tokens) {
  if (narrow_) {
    const std::vector<std::uint16_t> stored(tokens.begin(), tokens.end());
    hash_.update(std::as_bytes(std::span(stored)));
  } else {
    hash_.update(std::as_bytes(tokens));
  }
}

std::string content_checksum(const Content& content) {
  FileHash hash;
  const auto add_text = [&](std::string_view text) {
    hash.update(std::as_bytes(std::span(text)));
    hash.update(std::array{std::byte{0}});
  };
  const auto add_integers = [&](std::span<const std::int64_t> values) { hash.update(std::as_bytes(values)); };
  add_text(content.tokens_checksum);
  add_text(content.tokenizer_identity);
  add_integers(std::array{content.vocab_size, content.begin_id, content.end_id});
  add_integers(content.offsets);
  add_integers(content.words);
  add_integers(content.bytes);
  add_text(content.names);
  add_text(content.tokenizer_model);
  add_integers(content.masked);
  add_integers(content.target_words);
  add_integers(content.target_bytes);
  return hash.digest();
}

std::string origins_checksum(std::string_view titles, std::span<const std::int64_t> years) {
  FileHash hash;
  hash.update(std::as_bytes(std::span(titles)));
  hash.update(std::as_bytes(years));
  return hash.digest();
}

}  // namespace palimpsest::token_file_format
