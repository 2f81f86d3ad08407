// palimpsest bench: how fast training, evaluation and generation run on this machine.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "launch/benchmark/benchmark.h"
#include "launch/benchmark/ranks_report.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"

namespace palimpsest {

Command add_bench_command(CLI::App& program) {
  struct Options {
    std::string config;
    std::vector<std::string> overrides;
    BenchmarkOptions benchmark;
    std::int64_t alone_steps = 2;
    bool forward = false, generate = false, ranks_report = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "bench",
      "Measure the speed of a configuration on synthetic tokens: tokens per second, model FLOP/s against the matrix "
      "product peak of this process, memory, and where the time goes. No data is read, nothing is written.");
  command->add_option("CONFIG", options->config, "YAML configuration; model, train and optimizer count")->required();
  command->add_option("--set", options->overrides, "Replaces values of the configuration: section.key=value ...")
      ->type_name("KEY=VALUE");
  CLI::Option* steps =
      command
          ->add_option("--steps", options->benchmark.steps,
                       "Steps to measure; with --generate a token of each sequence, 100 unless said otherwise")
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
  command
      ->add_option("--batch", options->benchmark.sequences,
                   "With --generate: sequences side by side, for which the weights are read once")
      ->check(CLI::PositiveNumber)
      ->needs(generate)
      ->capture_default_str();
  CLI::Option* ranks_report =
      command
          ->add_flag(
              "--ranks-report", options->ranks_report,
              "Under mpirun: how the ranks get on together. train.batch_size counts for each rank then (weak scaling)")
          ->excludes(forward)
          ->excludes(generate);
  command
      ->add_option("--alone-steps", options->alone_steps,
                   "With --ranks-report: steps of one rank before and as many after, the others asleep, by which the "
                   "efficiency of all is measured; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->needs(ranks_report)
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON instead of a table");
  command->footer(
      help_footer("palimpsest bench configs/bench/small.yaml\n"
                  "palimpsest bench configs/bench/paper.yaml --set train.precision=bfloat16 --steps 3 --json\n"
                  "mpirun -n 2 palimpsest bench configs/bench/small.yaml --ranks-report\n"
                  "palimpsest bench configs/bench/small.yaml --generate --context 100000 --steps 200\n"
                  "palimpsest bench configs/bench/small.yaml --generate --batch 64"));
  return {command, [options, steps](Communicator& communicator) {
            using Subject = BenchmarkOptions::Subject;
            if (options->forward) options->benchmark.subject = Subject::forward;
            if (options->generate) {
              options->benchmark.subject = Subject::generation;
              if (steps->empty()) options->benchmark.steps = 100;
            }
            RunConfig config = load_run_config(options->config, options->overrides);
            if (options->ranks_report) {
              options->benchmark.alone_steps = options->alone_steps;
              config.train.batch_size *= std::max<std::int64_t>(1, communicator.size() / config.train.sequence_ranks);
            }
            const BenchmarkResult result = run_benchmark(config, options->benchmark, communicator);
            nlohmann::ordered_json json = to_json(result);
            std::string text = format_benchmark(result);
            if (options->ranks_report) {
              const RanksReport report = gather_ranks(result, communicator);
              json["ranks_report"] = to_json(report);
              text += format_ranks(report);
            }
            if (communicator.is_root()) fmt::print("{}", options->json ? json.dump(2) + "\n" : text);
            return ExitCode::ok;
          }};
}

}  // namespace palimpsest
