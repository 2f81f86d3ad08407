// The values a configuration key can take, between their text and their C++ type, with what is
// allowed. Each kind of key has an `Allowed` type and the same three functions over it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace palimpsest {

/// A value as it stands in a file or on the command line.
struct Scalar {
  std::string text;
  bool quoted = false;  // text in quotes is a string, whatever it looks like
};

/// Integers and finite numbers between two bounds; a bound may be excluded.
template <class T>
struct Range {
  T minimum = std::numeric_limits<T>::lowest();
  T maximum = std::numeric_limits<T>::max();
  bool above_minimum = false;
  bool below_maximum = false;
};

template <class T>
constexpr Range<T> at_least(T minimum) {
  return {.minimum = minimum};
}
template <class T>
constexpr Range<T> between(T minimum, T maximum) {
  return {.minimum = minimum, .maximum = maximum};
}
constexpr Range<double> positive() { return {.minimum = 0, .above_minimum = true}; }
/// 0 <= x < 1
constexpr Range<double> below_one() { return {.minimum = 0, .maximum = 1, .below_maximum = true}; }

/// true or false.
struct Boolean {};
/// A length of time in seconds, at least 0; written as a number of them, as HH:MM:SS or as D-HH:MM:SS.
struct Duration {};
/// Any text that YAML can hold.
struct Text {};

template <class Enum>
struct Choice {
  std::string_view name;
  Enum value;
};
template <class Enum>
Choice(std::string_view, Enum) -> Choice<Enum>;  // implied, but not to clang before 17
/// One of some names.
template <class Enum>
struct Choices {
  Choices(std::initializer_list<Choice<Enum>> list) : choices(list) {}
  std::vector<Choice<Enum>> choices;
};

// For each kind: parse_scalar gives the value of a text, or throws ConfigError whose message starts
// with `where` (place and key) and says what was expected; format_scalar gives text that parses back
// to the same value; describe_allowed says what parse_scalar accepts.

std::int64_t parse_scalar(std::string_view where, const Scalar& scalar, const Range<std::int64_t>& allowed);
std::uint64_t parse_scalar(std::string_view where, const Scalar& scalar, const Range<std::uint64_t>& allowed);
double parse_scalar(std::string_view where, const Scalar& scalar, const Range<double>& allowed);
bool parse_scalar(std::string_view where, const Scalar& scalar, const Boolean& allowed);
double parse_scalar(std::string_view where, const Scalar& scalar, const Duration& allowed);
std::string parse_scalar(std::string_view where, const Scalar& scalar, const Text& allowed);

std::string format_scalar(std::int64_t value, const Range<std::int64_t>& allowed);
std::string format_scalar(std::uint64_t value, const Range<std::uint64_t>& allowed);
std::string format_scalar(double value, const Range<double>& allowed);
std::string format_scalar(bool value, const Boolean& allowed);
std::string format_scalar(double value, const Duration& allowed);
std::string format_scalar(const std::string& value, const Text& allowed);

std::string describe_allowed(const Range<std::int64_t>& allowed);
std::string describe_allowed(const Range<std::uint64_t>& allowed);
std::string describe_allowed(const Range<double>& allowed);
std::string describe_allowed(const Boolean& allowed);
std::string describe_allowed(const Duration& allowed);
std::string describe_allowed(const Text& allowed);

constexpr std::string_view type_name(const Range<std::int64_t>&) { return "integer"; }
constexpr std::string_view type_name(const Range<std::uint64_t>&) { return "integer"; }
constexpr std::string_view type_name(const Range<double>&) { return "number"; }
constexpr std::string_view type_name(const Boolean&) { return "boolean"; }
constexpr std::string_view type_name(const Duration&) { return "duration"; }
constexpr std::string_view type_name(const Text&) { return "string"; }
template <class Enum>
constexpr std::string_view type_name(const Choices<Enum>&) {
  return "choice";
}

/// Throws the ConfigError for a text that is none of `names`, with the nearest of them.
[[noreturn]] void throw_not_a_choice(std::string_view where, const Scalar& scalar,
                                     std::span<const std::string_view> names);
std::string join_names(std::span<const std::string_view> names);

template <class Enum>
std::vector<std::string_view> names_of(const Choices<Enum>& allowed) {
  std::vector<std::string_view> names;
  for (const Choice<Enum>& choice : allowed.choices) names.push_back(choice.name);
  return names;
}

template <class Enum>
Enum parse_scalar(std::string_view where, const Scalar& scalar, const Choices<Enum>& allowed) {
  for (const Choice<Enum>& choice : allowed.choices) {
    if (choice.name == scalar.text) return choice.value;
  }
  throw_not_a_choice(where, scalar, names_of(allowed));
}

template <class Enum>
std::string format_scalar(Enum value, const Choices<Enum>& allowed) {
  for (const Choice<Enum>& choice : allowed.choices) {
    if (choice.value == value) return std::string(choice.name);
  }
  throw ConfigError("a configuration value has no name");
}

template <class Enum>
std::string describe_allowed(const Choices<Enum>& allowed) {
  return join_names(names_of(allowed));
}

}  // namespace palimpsest
