#include "core/printable.h"

#include <iterator>

#include <fmt/format.h>

namespace palimpsest {

namespace {

std::string escape(std::string_view text, std::size_t limit, bool keep_lines) {
  const bool cut = text.size() > limit;
  if (cut) {
    // Not within a character of UTF-8.
    while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
    text = text.substr(0, limit);
  }
  std::string result;
  result.reserve(text.size());
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if ((byte < 0x20 && !(keep_lines && byte == '\n')) || byte == 0x7F) {
      fmt::format_to(std::back_inserter(result), "\\x{:02X}", byte);
    } else {
      result += character;
    }
  }
  return cut ? result + "..." : result;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) { return escape(text, limit, false); }
std::string printable_lines(std::string_view text, std::size_t limit) { return escape(text, limit, true); }

}  // namespace palimpsest
