// JSON read from files that may be damaged or hostile.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace palimpsest {

/// Parses one JSON value. `name` (a path) starts every message. Throws FileError on a syntax error (with
/// its byte), on a key given twice in one object and on nesting deeper than 64.
nlohmann::json parse_json(std::string_view text, const std::string& name);

/// The text of a regular file of at most `limit` bytes. Throws FileError.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = std::size_t{64} << 20);

}  // namespace palimpsest
