// How the program answers a command line that it does not understand, and the text that every --help
// ends with.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace palimpsest {

/// One line that says what is wrong and what was expected, with the nearest known command or flag.
std::string explain(const CLI::ParseError& error, const CLI::App& program);

}  // namespace palimpsest
