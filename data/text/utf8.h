// UTF-8 as Palimpsest's corpora and outputs need it: where text stops being valid, how many words it
// has, and whole characters out of bytes that arrive one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace palimpsest {

/// Offset of the first byte that is not part of valid UTF-8; nothing when all of it is.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Whether a code point separates words: the characters at which Python's str.split() splits,
/// U+0009-000D, U+001C-0020, U+0085, U+00A0, U+1680, U+2000-200A, U+2028, U+2029, U+202F, U+205F
/// and U+3000.
bool is_word_separator(char32_t code_point);

/// Number of words between separators: the count by which PG19's word perplexity divides.
/// `text` must be valid UTF-8.
std::int64_t count_words(std::string_view text);

/// Turns bytes into text that is valid UTF-8 at every moment: a character whose last byte has not come
/// yet waits, and every byte that can belong to no character becomes U+FFFD.
class Utf8Stream {
 public:
  /// The characters that are complete now.
  std::string append(std::string_view bytes);
  /// U+FFFD for every byte that still waits.
  std::string finish();
  /// The bytes that wait: `append` them to another stream, and it goes on from here.
  std::string_view pending() const { return pending_; }

 private:
  std::string pending_;
};

}  // namespace palimpsest
