#include "launch/commands/generate_batch.h"

#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/kept_results.h"
#include "launch/inference/batch_generator.h"
#include "launch/output/exit_codes.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

/// How often finished results are written to disk, where they go to a file.
constexpr double seconds_between_keeping = 2;

/// Lines that come in any order, handed on in the order of the prompts.
class OrderedLines {
 public:
  OrderedLines(std::size_t prompts, KeptResults& results) : lines_(prompts), results_(results) {}

  void add(std::size_t index, std::string line) {
    lines_[index] = std::move(line);
    ++finished_;
    for (; next_ < lines_.size() && lines_[next_]; ++next_) hand_on(next_);
  }
  /// Those, too, before which one is missing.
  void add_rest() {
    for (; next_ < lines_.size(); ++next_) hand_on(next_);
  }
  std::size_t finished() const { return finished_; }

 private:
  void hand_on(std::size_t index) {
    if (!lines_[index]) return;
    results_.add(*lines_[index] + '\n');
    lines_[index]->clear();
  }

  std::vector<std::optional<std::string>> lines_;
  KeptResults& results_;
  std::size_t finished_ = 0, next_ = 0;
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
  KeptResults results(options.out);
  MemoryPool pool;
  const SavedModel saved = open_for_generation(common, communicator, log, pool);
  const StopRequest stop_request;
  OrderedLines lines(prompts.size(), results);
  const auto start = Pace::Clock::now();
  double next_keeping = seconds_between_keeping;
  std::int64_t tokens = 0;
  const auto take = [&](std::size_t index, const BatchResult& result) {
    tokens += static_cast<std::int64_t>(result.tokens.size());
    lines.add(index, to_json_line(prompts[index], result, common.generation, options.log_probabilities));
    log.progress(fmt::format("{} of {} prompts  {}", lines.finished(), prompts.size(),
                             format_rate(tokens, seconds_since(start))),
                 /*lasting=*/false);
  };
  const auto goes_on = [&] {
    if (const double seconds = seconds_since(start); seconds >= next_keeping) {
      results.keep();
      next_keeping = seconds + seconds_between_keeping;
    }
    return stop_request.signal() == 0;
  };
  bool whole = false;
  std::exception_ptr failure;
  try {
    whole = generate_batch(*saved.model, *saved.tokenizer, prompts, common.generation, options.lanes, take, goes_on);
  } catch (...) {
    failure = std::current_exception();
  }
  log.end_progress();
  try {
    lines.add_rest();
    if (!whole) results.keep();
  } catch (const WriteError&) {
    if (!failure) failure = std::current_exception();
  }
  if (const auto path = results.finish(whole)) log.note(fmt::format("Results: {}", path->string()));
  if (failure) std::rethrow_exception(failure);
  log.note(fmt::format("{} of {}, {} tokens at {}", lines.finished(),
                       format_plural(static_cast<std::int64_t>(prompts.size()), "prompt"), tokens,
                       format_rate(tokens, seconds_since(start))));
  if (whole) return ExitCode::ok;
  log.note(fmt::format("Stopped by {}", signal_name(stop_request.signal())));
  return ExitCode::signal_base + stop_request.signal();
}

}  // namespace palimpsest
