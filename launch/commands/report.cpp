// palimpsest report: runs side by side on one HTML page.
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/report/collection.h"
#include "launch/report/csv.h"
#include "launch/report/following.h"
#include "launch/report/page.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out = "report.html";
  std::filesystem::path csv;  // empty: none
  double peak = 0;            // GFLOP/s; 0: not known
  bool follow = false;
  std::int64_t every = 30;  // seconds
};

void write_report(const Options& options, bool goes_on) {
  const std::vector<RunRecord> runs = read_runs(options.runs);
  nlohmann::ordered_json report = to_report(runs);
  if (options.peak > 0) report["peak_flops"] = 1e9 * options.peak;
  if (goes_on) report["refresh_seconds"] = options.every;
  write_result(options.out, to_page(report));
  if (options.csv.empty()) return;
  for (const CsvFile& file : to_csv(runs)) write_result(options.csv / file.name, file.text);
}

/// Writes the page again whenever the runs have something new, until they are over or a signal comes.
int follow(const Options& options, RunLog& log) {
  const StopRequest stop_request;
  std::string seen;
  while (true) {
    const bool over = all_over(options.runs) || stop_request.signal() != 0;
    if (const std::string now = fingerprint(options.runs); now != seen || over) {
      if (over || has_steps(options.runs)) write_report(options, !over);
      seen = now;
    }
    if (over) break;
    log.progress(fmt::format("Following {}: {} is renewed every {} s", format_plural(options.runs.size(), "run"),
                             options.out.string(), options.every),
                 false);
    for (std::int64_t tenths = 0; tenths < 10 * options.every && stop_request.signal() == 0; ++tenths) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  log.end_progress();
  return stop_request.signal() == 0 ? ExitCode::ok : ExitCode::signal_base + stop_request.signal();
}

int report(const Options& options, Communicator& communicator) {
  if (!communicator.is_root()) return ExitCode::ok;
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  int exit_code = ExitCode::ok;
  if (options.follow) {
    exit_code = follow(options, log);
  } else {
    write_report(options, false);
  }
  log.note(fmt::format("Report: {}", options.out.string()));
  return exit_code;
}

}  // namespace

Command add_report_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("report", "Show runs side by side on one HTML page that needs no network");
  command->add_option("RUN", options->runs, "Run directories")->required();
  command->add_option("--out", options->out, "The page (default: report.html)")->type_name("FILE");
  command->add_option("--csv", options->csv, "Also write the numbers as CSV files into this folder")
      ->type_name("FOLDER");
  command
      ->add_option("--peak", options->peak,
                   "The machine's best rate of matrix products in GFLOP/s, all ranks together, as palimpsest bench "
                   "prints it: shows utilisation (MFU), too")
      ->check(CLI::PositiveNumber);
  command->add_flag("--follow", options->follow, "Write it again while the runs go on, until their end or Ctrl-C");
  command->add_option("--every", options->every, "With --follow: seconds between two looks (default: 30)")
      ->check(whole_number_from(1));
  command->footer(
      "Shows what metrics.jsonl, config.yaml and evaluation/*.json hold: loss, rates, gates, perplexities, passkey\n"
      "grids, and how the configurations differ. The same runs give the same page.\n\n" +
      help_footer("palimpsest report runs/quickstart\n"
                  "palimpsest report runs/linear runs/delta --out comparison.html\n"
                  "palimpsest report runs/quickstart --csv tables\n"
                  "palimpsest report runs/quickstart --follow"));
  return {command, [options](Communicator& communicator) { return report(*options, communicator); }};
}

}  // namespace palimpsest
