// palimpsest search: the documents of an index that a query fits best.
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "data/text/utf8.h"
#include "launch/commands/command.h"
#include "launch/commands/measuring.h"
#include "launch/output/exit_codes.h"
#include "launch/output/standard_output.h"
#include "launch/ranks/threads.h"
#include "launch/search/search_report.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"
#include "launch/training/saved_model.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model, index;
  std::int64_t step = 0, threads = 0, top = 10;
  std::string queries, first_stage;
  std::optional<std::string> query;
  SearchOptions search;
  std::string run, json;
  std::optional<std::int64_t> sentences;

  /// How many documents of a query shall have one: those of the table, unless it is said otherwise.
  std::int64_t with_sentence() const { return sentences.value_or(run.empty() && json.empty() ? top : 0); }
};

/// Of "bm25:K" K, 0 of nothing.
std::int64_t first_stage_of(const std::string& text) {
  if (text.empty()) return 0;
  constexpr std::string_view kind = "bm25:";
  std::int64_t count = 0;
  const char* end = text.data() + text.size();
  const bool known = text.starts_with(kind);
  if (known && std::from_chars(text.data() + kind.size(), end, count).ptr == end && count > 0) return count;
  throw ConfigError(
      fmt::format("--first-stage is {}: expected bm25:K, K a whole number of at least 1, or only", printable(text)));
}

std::vector<SearchQuery> queries_of(const Options& options) {
  if (options.queries.empty() != options.query.has_value()) {
    throw ConfigError("search needs either --query TEXT or --queries FILE");
  }
  if (!options.query) return read_queries(options.queries);
  if (find_invalid_utf8(*options.query)) throw ConfigError("--query is not UTF-8");
  if (is_blank(*options.query)) {
    throw ConfigError("--query is empty: expected a text");
  }
  return {{"query", *options.query}};
}

int search_index(Options options, Communicator& communicator) {
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const bool full_text = options.first_stage == "only";
  if (full_text && options.sentences.value_or(0) > 0) {
    throw ConfigError("--sentences asks the model, which --first-stage only leaves aside");
  }
  if (!full_text) options.search.first_stage = first_stage_of(options.first_stage);
  check(options.search);
  const std::vector<SearchQuery> queries = queries_of(options);
  if (options.run == "-" && options.json == "-") throw ConfigError("--run and --json are both -: expected one of them");
  const IndexSearch index(without_trailing_slash(options.index));
  if (!options.run.empty()) require_run_ids(queries, index.manifest());
  std::vector<SearchResult> results;
  int exit_code = ExitCode::ok;
  if (full_text) {
    results = index.full_text(queries, options.search);
  } else {
    for (const std::string& warning : configure_threads(options.threads, communicator).warnings) log.warn(warning);
    MemoryPool pool;
    const SavedModel saved = open_model(options.model, options.step, communicator, pool);
    const StopRequest stop_request;
    const auto goes_on = [&](std::string_view what) {
      return [&log, &stop_request, what](double done) {
        log.progress(fmt::format("{}: {:.0f} %", what, 100 * done), /*lasting=*/false);
        return stop_request.signal() == 0;
      };
    };
    results = index.by_memory(queries, options.search, *saved.model, *saved.tokenizer, pool, goes_on("likelihoods"));
    const bool complete =
        !results.empty() && index.add_sentences(results, options.with_sentence(), options.search, *saved.model,
                                                *saved.tokenizer, pool, goes_on("sentences"));
    log.end_progress();
    if (!complete) {
      const int signal = stop_request.signal();
      log.note(
          fmt::format("Stopped by {}{}", signal_name(signal), results.empty() ? "" : ": some sentences are missing"));
      exit_code = ExitCode::signal_base + signal;
      if (results.empty()) return exit_code;
    }
  }
  const auto write = [&](const std::string& path, const std::string& content) {
    if (path == "-") return write_to_stdout(content);
    write_result(path, content);
    log.note(fmt::format("Result: {}", path));
  };
  if (!options.run.empty()) write(options.run, run_of(results));
  if (!options.json.empty()) write(options.json, json_lines_of(results));
  if (options.run.empty() && options.json.empty()) write_to_stdout(format_results(results, options.top));
  return exit_code;
}

}  // namespace

Command add_search_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "search", "Find documents of an index: those after which, as the model remembers them, the query is likeliest");
  add_model_options(*command, options->model, options->step);
  command->add_option("INDEX", options->index, "What palimpsest index has written, with the same model")->required();
  command->add_option("--query", options->query, "What to look for")->type_name("TEXT");
  command
      ->add_option("--queries", options->queries,
                   "Many at once: .jsonl with {\"_id\", \"text\"} a line (BEIR), or a text file with one a line")
      ->type_name("FILE");
  command
      ->add_option("--first-stage", options->first_stage,
                   "bm25:K: full-text search finds K documents, which the model puts in order; only: full-text search "
                   "alone, without the model (default: the model asks all documents)")
      ->type_name("STAGE");
  command
      ->add_option("--interpolate", options->search.interpolate,
                   "Order by this times the likelihood plus the rest times BM25, both brought to 0 to 1 (default: 1)")
      ->type_name("SHARE");
  command->add_option("--k1", options->search.bm25.k1,
                      "Of BM25: how soon more of a word counts no more (default: 0.9)");
  command->add_option("--b", options->search.bm25.b, "Of BM25: how much long documents are held back (default: 0.4)");
  command->add_option("--before", options->search.before, "Text between a document and the query (default: a line end)")
      ->type_name("TEXT");
  command->add_option("--depth", options->search.depth, "Documents of a query in results, at most (default: 1000)")
      ->check(whole_number_from(1));
  command->add_option("--lanes", options->search.lanes, "Documents that are asked at once (default: 64)")
      ->check(whole_number_from(1));
  command->add_option("--top", options->top, "Documents of a query in the table (default: 10)")
      ->check(whole_number_from(1));
  command
      ->add_option("--run", options->run,
                   "Write a TREC run, for palimpsest measure, instead of the table; -: to standard output")
      ->type_name("FILE");
  command
      ->add_option("--json", options->json, "Write JSON, a line a query, instead of the table; -: to standard output")
      ->type_name("FILE");
  command
      ->add_option("--sentences", options->sentences,
                   "Documents of a query, the first ones, that get the sentence of theirs after which the query is "
                   "likeliest (default: those of the table; 0 with --run and --json)")
      ->check(whole_number_from(0));
  command->add_option("--threads", options->threads, "Threads (default: the cores there are)")
      ->check(whole_number_from(1));
  command->footer(help_footer(
      "palimpsest search runs/books library.index --query \"a whale\"\n"
      "palimpsest search runs/books corpus.index --queries queries.jsonl --first-stage bm25:100 --run memory.run\n"
      "palimpsest search runs/books corpus.index --queries queries.jsonl --first-stage only --run bm25.run"));
  return {command, [options](Communicator& communicator) {
            require_one_process("search", communicator);
            return search_index(*options, communicator);
          }};
}

}  // namespace palimpsest
