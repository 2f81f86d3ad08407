// What separates words in the files that people write.
#pragma once

#include <string_view>

namespace palimpsest {

/// ASCII's white space.
inline constexpr std::string_view white_space = " \t\n\v\f\r";

/// Whether nothing else is in it.
constexpr bool is_blank(std::string_view text) { return text.find_first_not_of(white_space) == std::string_view::npos; }

}  // namespace palimpsest
