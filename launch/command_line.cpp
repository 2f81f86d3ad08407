#include "launch/command_line.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "configs/suggestion.h"
#include "launch/commands/command.h"
#include "launch/exit_codes.h"

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
  const std::vector<CLI::App*> chosen = program.get_subcommands();
  const std::vector<std::string> unknown = program.remaining(/*recurse=*/true);
  if (chosen.empty()) {
    std::vector<std::string> commands;
    for (const CLI::App* command : program.get_subcommands(nullptr)) commands.push_back(command->get_name());
    const std::string all = fmt::format("{}", fmt::join(commands, ", "));
    if (unknown.empty()) return fmt::format("a command is missing: expected one of {}", all);
    return fmt::format("unknown command {}{} (commands: {})", unknown.front(), suggestion(unknown.front(), commands),
                       all);
  }
  const CLI::App& command = *chosen.front();
  const std::string help = fmt::format("see palimpsest {} --help", command.get_name());
  for (const std::string& argument : unknown) {
    if (!argument.starts_with("-") || argument == "-") continue;
    const std::string flag = argument.substr(0, argument.find('='));
    return fmt::format("{}: unknown flag {}{} ({})", command.get_name(), flag, suggestion(flag, flags_of(command)),
                       help);
  }
  if (!unknown.empty()) {
    return fmt::format("{}: unexpected argument {} ({})", command.get_name(), unknown.front(), help);
  }
  return fmt::format("{}: {} ({})", command.get_name(), error.what(), help);
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
