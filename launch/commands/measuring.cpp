#include "launch/commands/measuring.h"

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"

namespace palimpsest {

void add_bootstrap_options(CLI::App& command, BootstrapOptions& options) {
  command
      .add_option("--bootstrap", options.samples,
                  "How often intervals draw all items anew, with replacement (default: 1000)")
      ->check(whole_number_from(1))
      ->type_name("N");
  command.add_option("--confidence", options.confidence, "How much of the draws an interval holds (default: 0.95)")
      ->type_name("SHARE");
  command.add_option("--seed", options.seed, "Of the draws (default: 1)")->type_name("N");
}

void require_one_process(std::string_view command, const Communicator& communicator) {
  if (communicator.size() > 1) {
    throw ConfigError(
        fmt::format("{} runs in one process: start it without mpirun, found {}", command, communicator.description()));
  }
}

}  // namespace palimpsest
