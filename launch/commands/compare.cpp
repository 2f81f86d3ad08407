// palimpsest compare: evaluations of several runs on the same documents beside each other.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "data/tokens/token_file.h"
#include "launch/commands/command.h"
#include "launch/inference/comparison_report.h"
#include "launch/inference/named_split.h"
#include "launch/output/exit_codes.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> runs;
  std::string split = "test";
  std::string json, csv;
};

std::string token_file_of(const fs::path& configuration, const std::string& split) {
  const RunConfig config = load_run_config(configuration);
  try {
    return find_split(config, split, "name a result of palimpsest eval, a JSON file").file;
  } catch (Error& error) {
    error.add_context(configuration.string());
    throw;
  }
}

SavedEvaluation find_evaluation(const std::string& run, const std::string& split) {
  std::error_code error;
  if (!fs::is_directory(run, error)) return read_evaluation(run);
  const RunDirectory directory(run);
  const std::string file = token_file_of(directory.config(), split);
  // Without the file its results are known by its path alone.
  return newest_evaluation(directory.evaluation(), file, fs::exists(file, error) ? TokenFile(file).checksum() : "");
}

int compare_runs(const Options& options) {
  std::vector<ComparedRun> found;
  for (const std::string& run : options.runs) {
    ComparedRun& compared = found.emplace_back();
    compared.name = without_trailing_slash(run).string();
    compared.evaluation = find_evaluation(run, options.split);
  }
  const std::vector<ComparedRun> runs = compare(std::move(found));
  fmt::print("{}", format_comparison(runs));
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const auto write = [&](const std::string& path, const std::string& content) {
    if (path.empty()) return;
    write_result(path, content);
    log.note(fmt::format("Result: {}", path));
  };
  // Paths need not be UTF-8.
  write(options.json, to_json(runs).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
  write(options.csv, to_csv(runs));
  return ExitCode::ok;
}

}  // namespace

Command add_compare_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "compare",
      "Set evaluations of several runs on the same documents beside each other, with standard errors and the\n"
      "differences document by document from the first");
  command
      ->add_option(
          "RUN", options->runs,
          "Two or more: a run directory (its newest complete evaluation, the memory kept), or a JSON file that "
          "palimpsest eval has written")
      ->required()
      ->expected(2, CLI::detail::expected_max_vector_size);
  command
      ->add_option("--split", options->split,
                   "Of run directories the evaluation of this token file: validation, test or, for example, one of "
                   "evaluation.sets (default: test)")
      ->type_name("NAME");
  command->add_option("--json", options->json, "Where the comparison goes as JSON (default: nowhere)")
      ->type_name("FILE");
  command->add_option("--csv", options->csv, "Where it goes as CSV (default: nowhere)")->type_name("FILE");
  command->footer(
      "Differences are a run's loss minus that of the first: below 0 is better. Their standard errors are over "
      "documents,\n"
      "of which the table says how many are better and worse, and how likely so uneven a split would be by chance.\n"
      "Results of other documents than the first one's are refused.\n\n" +
      help_footer("palimpsest compare runs/local runs/infini\n"
                  "palimpsest compare runs/a runs/b runs/c --csv table.csv\n"
                  "palimpsest compare runs/a runs/b --split books\n"
                  "palimpsest compare runs/a/evaluation/test-step-00001000.json "
                  "runs/a/evaluation/test-step-00001000-memory-none.json"));
  return {command, [options](Communicator& communicator) {
            if (communicator.size() > 1) {
              throw ConfigError(fmt::format("compare runs as one process, found {}", communicator.description()));
            }
            return compare_runs(*options);
          }};
}

}  // namespace palimpsest
