// Tables for people.
#pragma once

#include <string>
#include <vector>

namespace palimpsest {

/// Columns aligned: the first to the left, the others to the right; the first row is the heading. Every
/// line ends with a newline.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace palimpsest
