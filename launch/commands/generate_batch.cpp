#include "launch/commands/generate_batch.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "launch/commands/command.h"
#include "launch/inference/batch_generator.h"
#include "launch/output/exit_codes.h"
#include "launch/output/standard_output.h"
#include "launch/training/run_directory.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// The lines of finished prompts, handed on in the order of the prompts: at once to standard output, to a file in the
/// end.
class Results {
 public:
  Results(std::size_t prompts, bool to_stdout) : lines_(prompts), to_stdout_(to_stdout) {}

  void add(std::size_t index, std::string line) {
    lines_[index] = std::move(line);
    ++finished_;
    for (; to_stdout_ && printed_ < lines_.size() && lines_[printed_]; ++printed_) {
      write_to_stdout(*lines_[printed_] + '\n');
    }
  }
  std::size_t finished() const { return finished_; }
  /// All of them that have not been printed.
  std::string rest() const {
    std::string text;
    for (std::size_t i = printed_; i < lines_.size(); ++i) {
      if (lines_[i]) text += *lines_[i] + '\n';
    }
    return text;
  }

 private:
  std::vector<std::optional<std::string>> lines_;
  bool to_stdout_;
  std::size_t finished_ = 0, printed_ = 0;
};

}  // namespace

CLI::Option* add_batch_options(CLI::App& command, BatchOptions& options) {
  CLI::Option* batch = command
                           .add_option("--batch", options.prompts,
                                       "Continue many prompts at once: a text file with one a line, or .jsonl with "
                                       "{\"prompt\": ..., \"id\", \"max_tokens\", \"seed\"}")
                           ->type_name("FILE");
  command.add_option("--out", options.out, "Where the batch's results go, as JSON lines (default: standard output)")
      ->type_name("FILE")
      ->needs(batch);
  command.add_option("--lanes", options.lanes, "Prompts of the batch at once, at most (default: 8)")
      ->check(whole_number_from(1))
      ->needs(batch);
  command
      .add_flag("--log-probabilities", options.log_probabilities,
                "With each result its tokens and the logarithms of their probabilities")
      ->needs(batch);
  return batch;
}

int generate_many(const GenerationCommand& common, const BatchOptions& options, Communicator& communicator) {
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const std::vector<Prompt> prompts = read_prompts(options.prompts);
  if (!options.out.empty()) require_writable_result(options.out);
  MemoryPool pool;
  const SavedModel saved = open_for_generation(common, communicator, log, pool);
  const StopRequest stop_request;
  Results results(prompts.size(), options.out.empty());
  const auto start = Pace::Clock::now();
  std::int64_t tokens = 0;
  const bool whole = generate_batch(
      *saved.model, *saved.tokenizer, prompts, common.generation, options.lanes,
      [&](std::size_t index, const BatchResult& result) {
        tokens += static_cast<std::int64_t>(result.tokens.size());
        results.add(index, to_json_line(prompts[index], result, common.generation, options.log_probabilities));
        log.progress(fmt::format("{} of {} prompts  {}", results.finished(), prompts.size(),
                                 format_rate(tokens, seconds_since(start))),
                     /*lasting=*/false);
      },
      [&] { return stop_request.signal() == 0; });
  log.end_progress();
  fs::path path = options.out;
  // What is not complete never takes the place of what is.
  if (!whole && !path.empty()) path.replace_extension(".partial" + path.extension().string());
  if (path.empty()) {
    write_to_stdout(results.rest());
  } else if (whole || results.finished() > 0) {
    write_result(path, results.rest());
    log.note(fmt::format("Results: {}", path.string()));
  }
  log.note(fmt::format("{} of {}, {} tokens at {}", results.finished(),
                       format_plural(static_cast<std::int64_t>(prompts.size()), "prompt"), tokens,
                       format_rate(tokens, seconds_since(start))));
  if (whole) return ExitCode::ok;
  log.note(fmt::format("Stopped by {}", signal_name(stop_request.signal())));
  return ExitCode::signal_base + stop_request.signal();
}

}  // namespace palimpsest
