// palimpsest train: trains from a configuration, or goes on where the run directory's newest
// checkpoint stands.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/exchange/stored_model.h"
#include "launch/output/exit_codes.h"
#include "launch/training/run_plan.h"
#include "launch/training/trainer.h"

namespace palimpsest {

Command add_train_command(CLI::App& program) {
  struct Options {
    std::string config;
    std::vector<std::string> overrides;
    std::int64_t stop_after = 0;
    bool plan = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("train", "Train a model, or go on training one");
  command->add_option("CONFIG", options->config, "YAML configuration (docs/configuration.md lists every key)")
      ->required();
  command->add_option("--set", options->overrides, "Replaces values of the configuration: section.key=value ...")
      ->type_name("KEY=VALUE");
  command
      ->add_option("--stop-after", options->stop_after,
                   "Stop after this step with a checkpoint, as if interrupted; the plan (learning rates, steps) stays")
      ->check(whole_number_from(1))
      ->type_name("STEP");
  command->add_flag(
      "--plan", options->plan,
      "Check the configuration, print as JSON where the run goes and how many ranks can share it, and exit");
  command->footer(
      "Starting again in the same run directory resumes from its newest checkpoint, bit for bit. SIGINT, SIGTERM and\n"
      "SIGUSR1, to one rank or all, end the run after the current step with a checkpoint.\n\n" +
      help_footer("palimpsest train configs/quickstart.yaml\n"
                  "palimpsest train configs/quickstart.yaml --set train.steps=200 train.run_directory=runs/short\n"
                  "launch/run.sh --ranks-per-node 4 --threads 8 -- train run.yaml"));
  const auto run = [options](Communicator& communicator) {
    const RunConfig config = load_run_config(options->config, options->overrides);
    if (options->plan) {
      if (communicator.is_root())
        fmt::print("{}\n", describe_plan(config.train, last_step(config.train, options->stop_after)).dump());
      return ExitCode::ok;
    }
    Trainer trainer(config, communicator, open_stored_model);
    return trainer.run(options->stop_after);
  };
  const auto seconds_to_meet = [options] {
    constexpr double least = 10;  // starting a program and MPI takes some seconds on a busy host
    try {
      const double timeout = load_run_config(options->config, options->overrides).train.watchdog_timeout;
      return timeout > 0 ? std::max(timeout, least) : 0;
    } catch (const Error&) {
      return least;  // a configuration that `run` will refuse
    }
  };
  return {command, run, seconds_to_meet};
}

}  // namespace palimpsest
