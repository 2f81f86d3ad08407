// Text of unknown origin as part of a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace palimpsest {

/// `text` with its control characters spelt "\x1B", so that they reach no terminal and forge no line, and cut
/// between characters, with "..." behind, after `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 120);

/// The same for a message that may have several lines: line ends stay.
std::string printable_lines(std::string_view text, std::size_t limit);

}  // namespace palimpsest
