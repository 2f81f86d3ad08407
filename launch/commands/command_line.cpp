#include "launch/commands/command_line.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "configs/suggestion.h"
#include "core/error.h"
#include "data/text/corpus.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"

namespace palimpsest {

namespace {

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

std::string suggestion(const std::string& name, const std::vector<std::string>& known) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::string_view nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

}  // namespace

std::string explain(const CLI::ParseError& error, const CLI::App& program) {
  const CLI::App* command = &program;
  std::string name = "palimpsest";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  const std::string help = fmt::format("see {} --help", name);
  const std::vector<std::string> unknown = program.remaining(/*recurse=*/true);
  for (const std::string& argument : unknown) {
    if (!argument.starts_with("-") || argument == "-") continue;
    const std::string flag = argument.substr(0, argument.find('='));
    return fmt::format("unknown flag {}{} ({})", flag, suggestion(flag, flags_of(*command)), help);
  }
  std::vector<std::string> commands;
  for (const CLI::App* known : command->get_subcommands(nullptr)) commands.push_back(known->get_name());
  if (!commands.empty()) {
    const std::string expected = fmt::format("expected one of {} ({})", fmt::join(commands, ", "), help);
    if (unknown.empty()) return fmt::format("a command is missing: {}", expected);
    return fmt::format("unknown command {}{} {}", unknown.front(), suggestion(unknown.front(), commands), expected);
  }
  if (!unknown.empty()) return fmt::format("unexpected argument {} ({})", unknown.front(), help);
  return fmt::format("{} ({})", error.what(), help);
}

void add_model_options(CLI::App& command, std::string& model, std::int64_t& step) {
  command
      .add_option("MODEL", model, "A checkpoint, a run directory (its newest checkpoint) or the configuration of a run")
      ->required();
  command.add_option("--step", step, "The run's checkpoint of this step (default: the newest that is whole)")
      ->check(whole_number_from(1));
}

CLI::Validator whole_number_from(std::int64_t minimum) {
  const auto check = [minimum](const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool valid = error == std::errc() && end == text.data() + text.size() && value >= minimum;
    return valid ? std::string() : fmt::format("'{}' is not a whole number of at least {}", text, minimum);
  };
  return {check, fmt::format(">={}", minimum)};
}

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  return path.has_filename() || !path.has_relative_path() ? path : path.parent_path();
}

std::string read_input(std::istream& stream, const std::string& name) {
  errno = 0;
  std::optional<std::string> text = read_text(stream);
  if (stream.bad()) throw FileError(fmt::format("{}: cannot be read: {}", name, std::strerror(errno)));
  if (!text) throw FileError(fmt::format("{}: has more than {} bytes, too many for a text", name, longest_text));
  return std::move(*text);
}

std::string read_text_input(const std::string& path) {
  if (path == "-") return read_input(std::cin, "standard input");
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw FileError(fmt::format("{}: is a directory: expected a text file", path));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw FileError(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
  return read_input(file, path);
}

std::string help_footer(const std::string& examples) {
  std::string footer = "Examples:\n";
  for (std::size_t begin = 0; begin < examples.size();) {
    const std::size_t end = std::min(examples.find('\n', begin), examples.size());
    footer += fmt::format("  {}\n", examples.substr(begin, end - begin));
    begin = end + 1;
  }
  return footer + "\n" + describe_exit_codes();
}

}  // namespace palimpsest
