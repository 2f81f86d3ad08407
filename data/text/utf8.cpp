#include "data/text/utf8.h"

#include <utf8.h>

namespace palimpsest {

namespace {

constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

/// Whether `bytes`, which do not start with a whole character, may still become one.
bool is_unfinished(std::string_view bytes) {
  const char* position = bytes.data();
  try {
    utf8::next(position, bytes.data() + bytes.size());
  } catch (const utf8::not_enough_room&) {
    return true;
  } catch (const utf8::exception&) {
    return false;
  }
  return false;
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  const char* end = text.data() + text.size();
  const char* invalid = utf8::find_invalid(text.data(), end);
  if (invalid == end) return std::nullopt;
  return static_cast<std::size_t>(invalid - text.data());
}

bool is_word_separator(char32_t code_point) {
  if (code_point < 0x80)
    return (code_point >= 0x09 && code_point <= 0x0D) || (code_point >= 0x1C && code_point <= 0x20);
  switch (code_point) {
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000: return true;
    default: return code_point >= 0x2000 && code_point <= 0x200A;
  }
}

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  bool in_word = false;
  const char* end = text.data() + text.size();
  for (const char* position = text.data(); position != end;) {
    const bool separates = is_word_separator(static_cast<char32_t>(utf8::unchecked::next(position)));
    if (!separates && !in_word) ++words;
    in_word = !separates;
  }
  return words;
}

std::string Utf8Stream::append(std::string_view bytes) {
  pending_ += bytes;
  std::string complete;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const std::size_t valid = find_invalid_utf8(rest).value_or(rest.size());
    complete += rest.substr(0, valid);
    rest.remove_prefix(valid);
    if (rest.empty() || is_unfinished(rest)) break;
    complete += replacement_character;
    rest.remove_prefix(1);
  }
  pending_ = std::string(rest);
  return complete;
}

std::string Utf8Stream::finish() {
  std::string replaced;
  for (std::size_t byte = 0; byte < pending_.size(); ++byte) replaced += replacement_character;
  pending_.clear();
  return replaced;
}

}  // namespace palimpsest
