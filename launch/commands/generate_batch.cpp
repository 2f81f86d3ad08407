#include "launch/commands/generate_batch.h"

#include <exception>
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
  const auto start = Pace::Clock::now();
  double next_keeping = seconds_between_keeping;
  std::int64_t tokens = 0, finished = 0;
  const auto take = [&](std::size_t index, const BatchResult& result) {
    tokens += static_cast<std::int64_t>(result.tokens.size());
    ++finished;
    results.add(index, to_json_line(prompts[index], result, common.generation, options.log_probabilities) + '\n');
    log.progress(
        fmt::format("{} of {} prompts  {}", finished, prompts.size(), format_rate(tokens, seconds_since(start))),
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
    if (!whole) results.keep();
  } catch (const WriteError&) {
    if (!failure) failure = std::current_exception();
  }
  if (const auto path = results.finish(whole)) log.note(fmt::format("Results: {}", path->string()));
  if (failure) std::rethrow_exception(failure);
  log.note(fmt::format("{} of {}, {} tokens at {}", finished,
                       format_plural(static_cast<std::int64_t>(prompts.size()), "prompt"), tokens,
                       format_rate(tokens, seconds_since(start))));
  if (whole) return ExitCode::ok;
  log.note(fmt::format("Stopped by {}", signal_name(stop_request.signal())));
  return ExitCode::signal_base + stop_request.signal();
}

}  // namespace palimpsest
