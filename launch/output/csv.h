// Tables for programs: comma-separated values (RFC 4180, with plain line ends).
#pragma once

#include <string>
#include <vector>

namespace palimpsest {

/// A line for each row; cells with commas, quotes or line ends are quoted.
std::string format_csv(const std::vector<std::vector<std::string>>& rows);

}  // namespace palimpsest
