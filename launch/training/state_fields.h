// Fields of a checkpoint's state, which may be damaged or hostile, as the types they have to be.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace palimpsest {

/// A whole number between `least` and `most`. Throws DataError on anything else (the library's own conversion takes
/// fractions and wraps what is too large), nlohmann::json::exception when the key is missing.
std::int64_t whole_number(const nlohmann::json& json, const char* key, std::int64_t least = 0,
                          std::int64_t most = std::numeric_limits<std::int64_t>::max());
std::vector<std::int64_t> whole_numbers(const nlohmann::json& json, const char* key, std::int64_t least);
std::vector<double> numbers(const nlohmann::json& json, const char* key);

/// Bytes as JSON can hold them. The reverse throws DataError.
std::string to_hexadecimal(std::string_view bytes);
std::string from_hexadecimal(const std::string& text);

}  // namespace palimpsest
