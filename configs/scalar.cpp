#include "configs/scalar.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <regex>
#include <type_traits>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "configs/suggestion.h"
#include "core/printable.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

std::string unexpected(std::string_view where, std::string_view expected, const Scalar& scalar) {
  const std::string text = printable(scalar.text, 60);
  return fmt::format("{} must be {}, found {}", where, expected,
                     scalar.quoted ? fmt::format("the string \"{}\"", text) : fmt::format("`{}`", text));
}

[[noreturn]] void throw_unexpected(std::string_view where, std::string_view expected, const Scalar& scalar) {
  throw ConfigError(unexpected(where, expected, scalar));
}

// YAML 1.1 reads 010 as eight and YAML 1.2 as ten: neither is what everybody expects.
bool looks_octal(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

// The whole of a plain text as a number, in decimal.
template <class T>
T parse_number(std::string_view where, std::string_view kind, const Scalar& scalar, const Range<T>& allowed) {
  if (!scalar.quoted && looks_octal(scalar.text)) {
    throw_unexpected(where, fmt::format("{} without leading zeros", kind), scalar);
  }
  T value{};
  const char* const end = scalar.text.data() + scalar.text.size();
  const auto [stop, error] = std::from_chars(scalar.text.data(), end, value);
  if (scalar.quoted || stop != end || error == std::errc::invalid_argument) throw_unexpected(where, kind, scalar);
  if constexpr (std::is_floating_point_v<T>) {
    if (error != std::errc() || !std::isfinite(value)) throw_unexpected(where, "a finite number", scalar);
  }
  const bool large_enough = allowed.above_minimum ? value > allowed.minimum : value >= allowed.minimum;
  const bool small_enough = allowed.below_maximum ? value < allowed.maximum : value <= allowed.maximum;
  if (error != std::errc() || !large_enough || !small_enough) {
    throw_unexpected(where, describe_allowed(allowed), scalar);
  }
  return value;
}

template <class T>
std::string describe_range(const Range<T>& allowed) {
  const bool has_minimum = std::is_integral_v<T> || allowed.minimum != std::numeric_limits<T>::lowest();
  const bool has_maximum = std::is_integral_v<T> || allowed.maximum != std::numeric_limits<T>::max();
  const std::string low = fmt::format("{} {}", allowed.above_minimum ? "greater than" : "at least", allowed.minimum);
  const std::string high = fmt::format("{} {}", allowed.below_maximum ? "less than" : "at most", allowed.maximum);
  if (has_minimum && has_maximum) return low + " and " + high;
  if (has_minimum) return low;
  return has_maximum ? high : "any finite number";
}

}  // namespace

std::int64_t parse_scalar(std::string_view where, const Scalar& scalar, const Range<std::int64_t>& allowed) {
  return parse_number(where, "an integer", scalar, allowed);
}

std::uint64_t parse_scalar(std::string_view where, const Scalar& scalar, const Range<std::uint64_t>& allowed) {
  return parse_number(where, "a non-negative integer", scalar, allowed);
}

double parse_scalar(std::string_view where, const Scalar& scalar, const Range<double>& allowed) {
  return parse_number(where, "a number", scalar, allowed);
}

bool parse_scalar(std::string_view where, const Scalar& scalar, const Boolean& allowed) {
  if (!scalar.quoted && scalar.text == "true") return true;
  if (!scalar.quoted && scalar.text == "false") return false;
  throw_unexpected(where, describe_allowed(allowed), scalar);
}

double parse_scalar(std::string_view where, const Scalar& scalar, const Duration& allowed) {
  static const std::regex clock("(?:([0-9]{1,4})-)?([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])");  // as Slurm writes it
  std::smatch parts;
  if (std::regex_match(scalar.text, parts, clock)) {
    const auto part = [&](int i) { return parts[i].matched ? std::stod(parts[i].str()) : 0.0; };
    return ((part(1) * 24 + part(2)) * 60 + part(3)) * 60 + part(4);
  }
  double seconds = 0;
  const char* const end = scalar.text.data() + scalar.text.size();
  const auto [stop, error] = std::from_chars(scalar.text.data(), end, seconds);
  const bool number = !scalar.quoted && stop == end && error == std::errc() && !looks_octal(scalar.text);
  if (!number || !std::isfinite(seconds) || seconds < 0) throw_unexpected(where, describe_allowed(allowed), scalar);
  return seconds;
}

std::string parse_scalar(std::string_view where, const Scalar& scalar, const Text&) {
  const bool control = std::ranges::any_of(scalar.text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control) throw ConfigError(fmt::format("{} must be text without control characters", where));
  if (find_invalid_utf8(scalar.text)) throw ConfigError(fmt::format("{} must be UTF-8 text", where));
  return scalar.text;
}

std::string format_scalar(std::int64_t value, const Range<std::int64_t>&) { return fmt::format("{}", value); }
std::string format_scalar(std::uint64_t value, const Range<std::uint64_t>&) { return fmt::format("{}", value); }
std::string format_scalar(double value, const Range<double>&) { return fmt::format("{}", value); }  // shortest exact
std::string format_scalar(bool value, const Boolean&) { return value ? "true" : "false"; }
std::string format_scalar(double value, const Duration&) { return fmt::format("{}", value); }
std::string format_scalar(const std::string& value, const Text&) {
  YAML::Emitter emitter;
  emitter << YAML::DoubleQuoted << value;
  return emitter.c_str();
}

std::string describe_allowed(const Range<std::int64_t>& allowed) { return describe_range(allowed); }
std::string describe_allowed(const Range<std::uint64_t>& allowed) { return describe_range(allowed); }
std::string describe_allowed(const Range<double>& allowed) { return describe_range(allowed); }
std::string describe_allowed(const Boolean&) { return "true or false"; }
std::string describe_allowed(const Duration&) { return "seconds, HH:MM:SS or D-HH:MM:SS"; }
std::string describe_allowed(const Text&) { return "any text"; }

void throw_not_a_choice(std::string_view where, const Scalar& scalar, std::span<const std::string_view> names) {
  const std::string_view nearest = nearest_name(scalar.text, names);
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
  throw ConfigError(fmt::format("{}{}", unexpected(where, join_names(names), scalar), hint));
}

std::string join_names(std::span<const std::string_view> names) {
  std::string joined;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) joined += i + 1 < names.size() ? ", " : " or ";
    joined += names[i];
  }
  return joined;
}

}  // namespace palimpsest
