// palimpsest bench: how fast training, evaluation and generation run on this machine.
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "launch/benchmark.h"
#include "launch/commands/command.h"
#include "launch/exit_codes.h"

namespace palimpsest {

Command add_bench_command(CLI::App& program) {
  struct Options {
    std::string config;
    std::vector<std::string> overrides;
    BenchmarkOptions benchmark;
    bool forward = false, generate = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "bench",
      "Measure the speed of a configuration on synthetic tokens: tokens per second, model FLOP/s against the matrix "
      "product peak of this process, memory, and where the time goes. No data is read, nothing is written.");
  command->add_option("CONFIG", options->config, "YAML configuration; model, train and optimizer count")->required();
  command->add_option("--set", options->overrides, "Replaces values of the configuration: section.key=value ...")
      ->type_name("KEY=VALUE");
  command->add_option("--steps", options->benchmark.steps, "Steps to measure (tokens with --generate)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--warm-up", options->benchmark.warm_up, "Steps before them that do not count")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  CLI::Option* forward = command->add_flag("--forward", options->forward, "Evaluation instead of training");
  CLI::Option* generate =
      command->add_flag("--generate", options->generate, "Generation, token by token, instead of training");
  generate->excludes(forward);
  command->add_option("--context", options->benchmark.context, "With --generate: tokens that came before")
      ->check(CLI::PositiveNumber)
      ->needs(generate)
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON instead of a table");
  command->footer(
      help_footer("palimpsest bench configs/bench/small.yaml\n"
                  "palimpsest bench configs/bench/paper.yaml --set train.precision=bfloat16 --steps 3 --json\n"
                  "palimpsest bench configs/bench/small.yaml --generate --context 100000 --steps 200"));
  return {command, [options](Communicator& communicator) {
            using Subject = BenchmarkOptions::Subject;
            if (options->forward) options->benchmark.subject = Subject::forward;
            if (options->generate) options->benchmark.subject = Subject::generation;
            const BenchmarkResult result =
                run_benchmark(load_run_config(options->config, options->overrides), options->benchmark, communicator);
            if (communicator.is_root()) {
              fmt::print("{}", options->json ? to_json(result).dump(2) + "\n" : format_benchmark(result));
            }
            return ExitCode::ok;
          }};
}

}  // namespace palimpsest
