// The program: reads the command line, runs the chosen subcommand on every rank and turns failures
// into one line on stderr and an exit code.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "core/comm/agreement.h"
#include "core/comm/communicator.h"
#include "core/printable.h"
#include "launch/commands/command.h"
#include "launch/commands/command_line.h"
#include "launch/output/exit_codes.h"
#include "launch/ranks/start_guard.h"

namespace palimpsest {

namespace {

/// Prints the error and, when there are several ranks, ends them all.
int fail(const std::string& error, int exit_code, Communicator* communicator) {
  constexpr std::size_t longest_message = 1 << 14;  // it may quote a file that someone made to flood a terminal
  const std::string message = printable_lines(error, longest_message);
  if (communicator != nullptr && communicator->size() > 1) {
    // What fails on every rank alike is told once: rank 0 ends the job before the others speak. On a busy machine the
    // end takes a while to arrive; it comes as SIGTERM, which a run that is over must not note and outlive.
    if (!communicator->is_root()) {
      std::signal(SIGTERM, SIG_DFL);
      std::this_thread::sleep_for(std::chrono::seconds(3));
    }
    fmt::print(stderr, "palimpsest: error: {}\n", told_by_rank(*communicator, message));
    std::fflush(nullptr);
    communicator->abort(exit_code);
  }
  fmt::print(stderr, "palimpsest: error: {}\n", message);
  return exit_code;
}

/// The command line, parsed before the ranks have met.
class Program {
 public:
  Program(int argument_count, char** arguments) {
    app_.set_version_flag("--version", std::string("palimpsest ") + PALIMPSEST_VERSION, "Print the version and exit");
    app_.require_subcommand(1);
    app_.footer(help_footer("palimpsest train configs/quickstart.yaml\npalimpsest COMMAND --help"));
    try {
      app_.parse(argument_count, arguments);
    } catch (const CLI::ParseError&) {
      unparsed_ = std::current_exception();
      return;
    }
    chosen_ = std::ranges::find_if(commands_, [](const Command& command) { return command.options->parsed(); });
  }

  double seconds_to_meet() const { return unparsed_ ? Command().seconds_to_meet() : chosen_->seconds_to_meet(); }

  int run(Communicator& communicator) {
    if (!unparsed_) return chosen_->run(communicator);
    try {
      std::rethrow_exception(unparsed_);
    } catch (const CLI::Success& asked_for_text) {  // --help or --version
      if (communicator.is_root()) app_.exit(asked_for_text);
      return ExitCode::ok;
    } catch (const CLI::ParseError& error) {
      if (communicator.is_root()) fmt::print(stderr, "palimpsest: error: {}\n", explain(error, app_));
      return ExitCode::configuration;
    }
  }

 private:
  CLI::App app_{"Palimpsest trains transformers with Infini-attention on clusters of CPU machines.", "palimpsest"};
  std::vector<Command> commands_ = {
      add_train_command(app_),     add_eval_command(app_),      add_compare_command(app_), add_passkey_command(app_),
      add_generate_command(app_),  add_chat_command(app_),      add_inspect_command(app_), add_pack_command(app_),
      add_tokenizer_command(app_), add_bench_command(app_),     add_import_command(app_),  add_export_command(app_),
      add_report_command(app_),    add_rouge_command(app_),     add_measure_command(app_), add_index_command(app_),
      add_search_command(app_),    add_summarize_command(app_),
  };
  std::vector<Command>::const_iterator chosen_ = commands_.end();
  std::exception_ptr unparsed_;
};

}  // namespace

}  // namespace palimpsest

int main(int argument_count, char** arguments) {
  using namespace palimpsest;
  // Warnings from below the commands go where errors go; standard output is for results.
  spdlog::set_default_logger(spdlog::stderr_logger_mt("palimpsest"));
  spdlog::set_pattern("palimpsest: %l: %v");
  std::unique_ptr<Communicator> communicator;
  try {
    Program program(argument_count, arguments);
    {
      // MPI waits for a rank that does not come, for ever.
      const double seconds = program.seconds_to_meet();
      const StartGuard guard(seconds, [seconds] { end_start(seconds); });
      communicator = start_communication(argument_count, arguments);
    }
    return program.run(*communicator);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", ExitCode::internal_error, communicator.get());
  } catch (const std::exception& error) {
    return fail(error.what(), exit_code_of(error), communicator.get());
  }
}
