// palimpsest index: what a model remembers of every document of a corpus, kept to be searched.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/ranks/threads.h"
#include "launch/search/index_report.h"
#include "launch/search/indexing.h"
#include "launch/training/run_log.h"
#include "launch/training/saved_model.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model, corpus, index;
  std::int64_t step = 0, threads = 0;
  std::string type = "float32";
  IndexingOptions indexing;
};

constexpr double seconds_between_lines = 30;

int index_corpus(Options options, Communicator& communicator) {
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  for (const std::string& warning : configure_threads(options.threads, communicator).warnings) log.warn(warning);
  options.indexing.index.type = memory_type_of(options.type).value();
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  const SearchCorpus corpus(options.corpus);
  const StopRequest stop_request;
  const auto start = Pace::Clock::now();
  double next_line = seconds_between_lines;
  const IndexingResult result = read_into_index(
      corpus, without_trailing_slash(options.index), *saved.model, *saved.tokenizer, pool, communicator,
      options.indexing, [&](const IndexingProgress& now) {
        const double seconds = seconds_since(start);
        const auto left = static_cast<double>(now.all_bytes - now.bytes);
        const auto eta = now.bytes > 0 ? format_duration(seconds * left / static_cast<double>(now.bytes)) : "-";
        log.progress(fmt::format("{} of {} documents  {:.1f} documents/s  {} tokens/s  ETA {}", now.documents, now.all,
                                 static_cast<double>(now.documents) / seconds,
                                 format_count(static_cast<double>(now.tokens) / seconds), eta),
                     /*lasting=*/seconds >= next_line);
        if (seconds >= next_line) next_line = seconds + seconds_between_lines;
        return stop_request.signal() == 0;
      });
  log.end_progress();
  std::int64_t signal = stop_request.signal();
  communicator.all_reduce_max(std::span(&signal, 1));
  const int exit_code = result.complete ? ExitCode::ok : ExitCode::signal_base + static_cast<int>(signal);
  if (!communicator.is_root()) return exit_code;
  const double seconds = seconds_since(start);
  log.note(fmt::format("Read {}, {} tokens, {:.1f} documents/s; {} unchanged, {} replaced, {} removed, {} empty",
                       format_plural(result.read.documents, "document"), result.read.tokens,
                       static_cast<double>(result.read.documents) / seconds, result.unchanged, result.replaced,
                       result.removed, result.empty));
  log.note(fmt::format("{}: {}, {}", options.index, format_plural(result.documents, "document"),
                       describe_memory_size(result.bytes, result.documents, options.indexing.index.type)));
  if (!result.complete) {
    log.note(fmt::format("Stopped by {}: the same command goes on", signal_name(static_cast<int>(signal))));
  }
  return exit_code;
}

}  // namespace

Command add_index_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "index", "Read every document of a corpus once and keep what the model remembers of it, to be searched");
  add_model_options(*command, options->model, options->step);
  command
      ->add_option("CORPUS", options->corpus,
                   "Documents: a .jsonl file with {\"_id\", \"title\", \"text\"} a line (BEIR), or a folder of *.txt")
      ->required();
  command->add_option("INDEX", options->index, "A folder: an index to add to, or a new one")->required();
  command
      ->add_option("--type", options->type,
                   "In which memories are kept: float32, bfloat16, or int8 with a scale a row (default: float32)")
      ->check(CLI::IsMember(std::vector<std::string>(memory_type_names.begin(), memory_type_names.end())));
  command
      ->add_option("--stem", options->indexing.index.stemmer,
                   "For full-text search take the endings off words of this language, such as english (default: none)")
      ->type_name("LANGUAGE");
  command->add_flag("--prune", options->indexing.prune, "Remove documents that CORPUS does not have");
  command->add_flag("--skip-empty", options->indexing.skip_empty,
                    "Leave documents without a text out, instead of stopping at them");
  command->add_option("--threads", options->threads, "Threads per rank (default: the cores there are)")
      ->check(whole_number_from(1));
  command->footer(
      "What the index has already is not read again. Ctrl-C and kills lose the last documents at most: the same "
      "command "
      "goes on. Ranks share the documents.\n\n" +
      help_footer("palimpsest index runs/books corpus.jsonl books.index\n"
                  "palimpsest index runs/books library/ library.index --type int8 --prune\n"
                  "mpirun -n 4 palimpsest index runs/books library/ library.index"));
  return {command, [options](Communicator& communicator) { return index_corpus(*options, communicator); }};
}

}  // namespace palimpsest
