#include "launch/training/state_fields.h"

#include <charconv>
#include <cstddef>
#include <iterator>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

std::int64_t whole_number(const nlohmann::json& json, const char* key, std::int64_t least, std::int64_t most) {
  const nlohmann::json& value = json.at(key);
  const bool wraps =
      value.is_number_unsigned() && value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  if (!value.is_number_integer() || wraps || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
    throw DataError(
        fmt::format("\"{}\" is {}, expected a whole number of at least {}", key, printable(value.dump()), least));
  }
  return value.get<std::int64_t>();
}

std::vector<std::int64_t> whole_numbers(const nlohmann::json& json, const char* key, std::int64_t least) {
  std::vector<std::int64_t> result;
  for (const nlohmann::json& value : json.at(key)) result.push_back(whole_number({{key, value}}, key, least));
  return result;
}

std::vector<double> numbers(const nlohmann::json& json, const char* key) {
  std::vector<double> result;
  for (const nlohmann::json& value : json.at(key)) {
    if (!value.is_number()) {
      throw DataError(fmt::format("\"{}\" holds {}, expected numbers", key, printable(value.dump())));
    }
    result.push_back(value.get<double>());
  }
  return result;
}

std::string to_hexadecimal(std::string_view bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string from_hexadecimal(const std::string& text) {
  if (text.size() % 2 != 0) throw DataError("not hexadecimal: an odd number of digits");
  std::string bytes(text.size() / 2, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    unsigned char value = 0;
    const char* digits = text.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2) throw DataError("not hexadecimal");
    bytes[i] = static_cast<char>(value);
  }
  return bytes;
}

}  // namespace palimpsest
