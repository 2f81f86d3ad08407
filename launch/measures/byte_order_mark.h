// The byte order mark, U+FEFF, that some editors write before the first byte of a text file.
#pragma once

#include <string_view>

namespace palimpsest {

inline constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// The text behind its mark; all of it where it has none.
inline std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  return text;
}

}  // namespace palimpsest
