// palimpsest measure: how good rankings are, by judgements of people.
#include <memory>
#include <string>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/measuring.h"
#include "launch/measures/ranking_report.h"
#include "launch/output/exit_codes.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace {

struct Options {
  std::string run, judgements, other;
  bool complete = false;
  BootstrapOptions bootstrap;
  std::string json;
};

MeasuredRun measured(const std::string& path, const Judgements& judgements, bool complete, RunLog& log) {
  try {
    MeasuredRun run = measure_run(read_run(path), judgements, complete);
    if (run.unanswered > 0) {
      log.note(fmt::format("{}: lacks {} of {} judged queries, which {}", path, run.unanswered, run.judged,
                           complete ? "count as 0" : "do not count (--complete counts them as 0)"));
    }
    return run;
  } catch (DataError& error) {
    error.add_context(path);
    throw;
  }
}

int measure_runs(const Options& options) {
  check(options.bootstrap);
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const Judgements judgements = read_judgements(options.judgements);
  RankingReport report{options.run,      measured(options.run, judgements, options.complete, log),
                       options.other,    {},
                       options.complete, options.bootstrap};
  if (!options.other.empty()) {
    report.other = measured(options.other, judgements, options.complete, log);
    keep_common_queries(report.run, *report.other);
  }
  fmt::print("{}", format_ranking(report));
  if (options.json.empty()) return ExitCode::ok;
  write_result(options.json, ranking_json(report));
  log.note(fmt::format("Result: {}", options.json));
  return ExitCode::ok;
}

}  // namespace

Command add_measure_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "measure", "Measure what a search has found by judgements: nDCG@10, MRR, recall@100 and MAP, as trec_eval does");
  command->add_option("RUN", options->run, "What was found: a TREC run file, as palimpsest search writes it")
      ->required();
  command
      ->add_option("QRELS", options->judgements,
                   "What is relevant: TREC's qrels (four columns), or BEIR's (three, below a line of names)")
      ->required();
  command->add_option("OTHER_RUN", options->other, "Another run, to be compared with the first query by query");
  command->add_flag("--complete", options->complete,
                    "Judged queries that a run lacks count as 0 (trec_eval -c) instead of being left out");
  add_bootstrap_options(*command, options->bootstrap);
  command->add_option("--json", options->json, "Where the result goes as JSON, with every query (default: nowhere)")
      ->type_name("FILE");
  command->footer(
      "Documents that were not judged are not relevant; where scores are equal, the later id comes first, as in "
      "trec_eval.\n\n" +
      help_footer("palimpsest measure bm25.run qrels/test.tsv\n"
                  "palimpsest measure bm25.run qrels/test.tsv memory.run --json difference.json"));
  return {command, [options](Communicator& communicator) {
            require_one_process("measure", communicator);
            return measure_runs(*options);
          }};
}

}  // namespace palimpsest
