// The pattern of a subcommand: one file each, one function that describes its options to the command
// line parser and returns what to do when the user has chosen it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <string>

#include <CLI/CLI.hpp>

#include "core/comm/communicator.h"

namespace palimpsest {

struct Command {
  /// Belongs to the program it was added to.
  CLI::App* options = nullptr;
  /// Runs after the command line has been parsed, on every rank. Returns an exit code
  /// (launch/output/exit_codes.h); failures throw the typed exceptions of core/error.h.
  std::function<int(Communicator&)> run;
  /// How many seconds the ranks may take to come together before it; 0: any time.
  std::function<double()> seconds_to_meet = [] { return 600.0; };
};

/// Each adds a subcommand to `program`. Values parsed are kept alive by the returned `run`.
Command add_train_command(CLI::App& program);
Command add_eval_command(CLI::App& program);
Command add_compare_command(CLI::App& program);
Command add_generate_command(CLI::App& program);
Command add_chat_command(CLI::App& program);
Command add_inspect_command(CLI::App& program);
Command add_pack_command(CLI::App& program);
Command add_tokenizer_command(CLI::App& program);
Command add_bench_command(CLI::App& program);
Command add_passkey_command(CLI::App& program);
Command add_import_command(CLI::App& program);
Command add_export_command(CLI::App& program);
Command add_report_command(CLI::App& program);
Command add_rouge_command(CLI::App& program);
Command add_measure_command(CLI::App& program);
Command add_index_command(CLI::App& program);
Command add_search_command(CLI::App& program);
Command add_summarize_command(CLI::App& program);

/// Accepts whole numbers of at least `minimum`.
CLI::Validator whole_number_from(std::int64_t minimum);

/// MODEL and --step: which checkpoint a command reads (launch/training/saved_model.h). Both are written when
/// the command line is parsed; `step` is left alone without the option.
void add_model_options(CLI::App& command, std::string& model, std::int64_t& step);

/// A path without the slash that names of directories may end with, which would hide the last of its parts.
std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// A text that a command works on, of at most `longest_text` bytes. Throws FileError, which starts with `name`.
std::string read_input(std::istream& stream, const std::string& name);

/// The same of a file, or of standard input where `path` is "-".
std::string read_text_input(const std::string& path);

/// What --help of a command ends with: its examples (one command line a line) and the exit codes.
std::string help_footer(const std::string& examples);

}  // namespace palimpsest
