// The program: reads the command line, runs the chosen subcommand on every rank and turns failures
// into one line on stderr and an exit code.
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "core/comm/communicator.h"
#include "core/printable.h"
#include "launch/command_line.h"
#include "launch/commands/command.h"
#include "launch/exit_codes.h"
#include "launch/ranks/placement.h"
#include "launch/ranks/start_guard.h"

namespace palimpsest {

namespace {

// MPI waits for a rank that does not come, for ever.
constexpr double seconds_to_meet = 600;

/// Prints the error and, when there are several ranks, ends them all.
int fail(const std::string& error, int exit_code, Communicator* communicator) {
  constexpr std::size_t longest_message = 1 << 14;  // it may quote a file that someone made to flood a terminal
  const std::string message = printable_lines(error, longest_message);
  if (communicator != nullptr && communicator->size() > 1) {
    // What fails on every rank alike is told once: rank 0 ends the job before the others speak.
    if (!communicator->is_root()) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    fmt::print(stderr, "palimpsest: error: rank {} of {} on {}: {}\n", communicator->rank(), communicator->size(),
               host_name(), message);
    std::fflush(nullptr);
    communicator->abort(exit_code);
  }
  fmt::print(stderr, "palimpsest: error: {}\n", message);
  return exit_code;
}

int run(int argument_count, char** arguments, Communicator& communicator) {
  CLI::App program{"Palimpsest trains transformers with Infini-attention on clusters of CPU machines.", "palimpsest"};
  program.set_version_flag("--version", std::string("palimpsest ") + PALIMPSEST_VERSION, "Print the version and exit");
  program.require_subcommand(1);
  program.footer(help_footer("palimpsest train configs/quickstart.yaml\npalimpsest COMMAND --help"));
  const std::vector<Command> commands = {
      add_train_command(program),   add_eval_command(program), add_generate_command(program),
      add_inspect_command(program), add_pack_command(program), add_tokenizer_command(program),
      add_bench_command(program),
  };
  try {
    program.parse(argument_count, arguments);
  } catch (const CLI::Success& asked_for_text) {  // --help or --version
    if (communicator.is_root()) program.exit(asked_for_text);
    return ExitCode::ok;
  } catch (const CLI::ParseError& error) {
    if (communicator.is_root()) fmt::print(stderr, "palimpsest: error: {}\n", explain(error, program));
    return ExitCode::configuration;
  }
  for (const Command& command : commands) {
    if (command.options->parsed()) return command.run(communicator);
  }
  return ExitCode::internal_error;
}

}  // namespace

}  // namespace palimpsest

int main(int argument_count, char** arguments) {
  using namespace palimpsest;
  // Warnings from below the commands go where errors go; standard output is for results.
  spdlog::set_default_logger(spdlog::stderr_logger_mt("palimpsest"));
  spdlog::set_pattern("palimpsest: %l: %v");
  std::unique_ptr<Communicator> communicator;
  try {
    {
      const StartGuard guard(seconds_to_meet, [] { end_start(seconds_to_meet); });
      communicator = start_communication(argument_count, arguments);
    }
    return run(argument_count, arguments, *communicator);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", ExitCode::internal_error, communicator.get());
  } catch (const std::exception& error) {
    return fail(error.what(), exit_code_of(error), communicator.get());
  }
}
