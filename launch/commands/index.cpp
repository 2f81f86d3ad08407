// palimpsest index: what a model remembers of every document of a corpus, kept to be searched.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "core/printable.h"
#include "launch/commands/command.h"
#include "launch/commands/measuring.h"
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
  std::optional<std::string> type, stemmer;
  IndexingOptions indexing;
  std::vector<std::string> remove;
  std::string remove_file;

  bool removes() const { return !remove.empty() || !remove_file.empty(); }
};

/// What --remove and --remove-file name.
std::set<std::string> ids_to_remove(const Options& options) {
  std::set<std::string> ids(options.remove.begin(), options.remove.end());
  if (options.remove_file.empty()) return ids;
  const std::string text = read_text_input(options.remove_file);
  std::string_view left = text;
  while (!left.empty()) {
    std::string_view line = left.substr(0, left.find('\n'));
    left.remove_prefix(std::min(line.size() + 1, left.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) ids.emplace(line);
  }
  if (ids.empty()) throw DataError(fmt::format("{}: names no documents", options.remove_file));
  return ids;
}

int remove_documents(const Options& options, const std::string& folder, Communicator& communicator) {
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const std::set<std::string> ids = ids_to_remove(options);
  for (const std::string& warning : configure_threads(options.threads, communicator).warnings) log.warn(warning);
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  const StopRequest stop_request;  // Ctrl-C waits for the end, which is near
  const auto path = without_trailing_slash(folder);
  const RemovalResult result = remove_from_index(ids, path, *saved.model, *saved.tokenizer, pool);
  if (!result.unknown.empty()) {
    const std::string unknown = fmt::format("{}: does not have {} of the ids that were to be removed, the first {}",
                                            path.string(), result.unknown.size(), printable(result.unknown.front()));
    if (result.removed == 0) throw DataError(unknown);
    log.warn(unknown);
  }
  log.note(fmt::format("Removed {}", format_plural(result.removed, "document")));
  log.note(fmt::format("{}: {}", path.string(), format_plural(result.documents, "document")));
  return ExitCode::ok;
}

int index_corpus(Options options, Communicator& communicator) {
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  for (const std::string& warning : configure_threads(options.threads, communicator).warnings) log.warn(warning);
  if (options.type) options.indexing.index.type = memory_type_of(*options.type).value();
  if (options.stemmer) options.indexing.index.stemmer = *options.stemmer;
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  const SearchCorpus corpus(options.corpus);
  const StopRequest stop_request;
  const auto start = Pace::Clock::now();
  LastingLines lasting;
  const IndexingResult result = read_into_index(
      corpus, without_trailing_slash(options.index), *saved.model, *saved.tokenizer, pool, communicator,
      options.indexing, [&](const IndexingProgress& now) {
        const double seconds = seconds_since(start);
        const auto left = static_cast<double>(now.all_bytes - now.bytes);
        const auto eta = now.bytes > 0 ? format_duration(seconds * left / static_cast<double>(now.bytes)) : "-";
        log.progress(
            fmt::format("{} of {} documents  {}  {}  ETA {}", now.documents, now.all,
                        format_slow_rate(now.documents, "documents", seconds), format_rate(now.tokens, seconds), eta),
            lasting.due(seconds));
        return stop_request.signal() == 0;
      });
  log.end_progress();
  std::int64_t signal = stop_request.signal();
  communicator.all_reduce_max(std::span(&signal, 1));
  const int exit_code = result.complete ? ExitCode::ok : ExitCode::signal_base + static_cast<int>(signal);
  if (!communicator.is_root()) return exit_code;
  const double seconds = seconds_since(start);
  log.note(fmt::format("Read {}, {} tokens, {}; {} unchanged, {} replaced, {} removed, {} empty",
                       format_plural(result.read.documents, "document"), result.read.tokens,
                       format_slow_rate(result.read.documents, "documents", seconds), result.unchanged, result.replaced,
                       result.removed, result.empty));
  log.note(fmt::format("{}: {}, {}", options.index, format_plural(result.documents, "document"),
                       describe_memory_size(result.bytes, result.documents, options.indexing.index.type)));
  if (!result.complete) {
    log.note(fmt::format("Stopped by {}: the same command goes on", signal_name(static_cast<int>(signal))));
  }
  return exit_code;
}

int run(const Options& options, Communicator& communicator) {
  if (!options.removes()) {
    if (options.index.empty()) throw ConfigError("index needs MODEL, CORPUS and INDEX");
    return index_corpus(options, communicator);
  }
  if (options.corpus.empty() || !options.index.empty() || options.indexing.prune) {
    throw ConfigError("index --remove needs MODEL and INDEX, and takes no corpus and no --prune");
  }
  if (options.type || options.stemmer || options.indexing.skip_empty) {
    throw ConfigError("index --remove reads no documents, and takes no --type, --stem and --skip-empty");
  }
  require_one_process("index --remove", communicator);
  return remove_documents(options, options.corpus, communicator);
}

}  // namespace

Command add_index_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "index", "Read every document of a corpus once and keep what the model remembers of it, to be searched");
  add_model_options(*command, options->model, options->step);
  command->add_option(
      "CORPUS", options->corpus,
      "Documents: a .jsonl file with {\"_id\", \"title\", \"text\"} a line (BEIR), or a folder of *.txt; "
      "not with --remove");
  command->add_option("INDEX", options->index, "A folder: an index to add to, or a new one");
  command
      ->add_option("--remove", options->remove,
                   "Remove documents with these ids, without reading any; after MODEL and INDEX")
      ->type_name("ID");
  command->add_option("--remove-file", options->remove_file, "The same with a file of ids, one a line")
      ->type_name("FILE");
  command
      ->add_option("--type", options->type,
                   "In which memories are kept: float32, bfloat16, or int8 with a scale a row (default: float32)")
      ->check(CLI::IsMember(std::vector<std::string>(memory_type_names.begin(), memory_type_names.end())));
  command
      ->add_option("--stem", options->stemmer,
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
                  "palimpsest index runs/books books.index --remove 1342 98\n"
                  "mpirun -n 4 palimpsest index runs/books library/ library.index"));
  return {command, [options](Communicator& communicator) { return run(*options, communicator); }};
}

}  // namespace palimpsest
