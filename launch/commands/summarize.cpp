// palimpsest summarize: reads whole books and writes a summary of each.
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/printable.h"
#include "data/text/document_list.h"
#include "launch/commands/command.h"
#include "launch/commands/generation.h"
#include "launch/commands/kept_results.h"
#include "launch/commands/measuring.h"
#include "launch/inference/generator_file.h"
#include "launch/inference/summarizer.h"
#include "launch/output/exit_codes.h"
#include "launch/output/standard_output.h"
#include "launch/training/run_directory.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

struct Options {
  GenerationCommand common;
  std::vector<std::string> books;
  std::optional<std::string> pair_template;  // without: the one that pack has
  LineEnds line_ends = LineEnds::keep;
  std::string save_state, out;
  bool json = false;
};

class Summarizing {
 public:
  /// Rank 0 has the results.
  Summarizing(const Options& options, Communicator& communicator, RunLog& log, KeptResults* results)
      : options_(options),
        communicator_(communicator),
        log_(log),
        results_(results),
        pair_(options.pair_template ? parse_pair_template(*options.pair_template) : RecordFormat().pair),
        json_(options.json || fs::path(options.out).extension() == ".jsonl"),
        saved_(open_for_generation(options.common, communicator, log, pool_)) {}

  /// An exit code.
  int run() {
    std::exception_ptr failure;
    try {
      options_.common.state.empty() ? read_all() : ask_state();
    } catch (...) {
      failure = std::current_exception();
    }
    log_.end_progress();
    if (communicator_.is_root()) finish(/*failed=*/failure != nullptr);
    if (failure) std::rethrow_exception(failure);
    if (finished_ == all_) return ExitCode::ok;
    log_.note(fmt::format("Stopped by {}", signal_name(static_cast<int>(signal_))));
    return ExitCode::signal_base + static_cast<int>(signal_);
  }

 private:
  std::vector<fs::path> paths() const { return {options_.books.begin(), options_.books.end()}; }

  /// Each rank one document at a time, so that none waits longer than for the longest of them.
  void read_all() {
    agree_on_error(communicator_, [&] {
      for (DocumentList list(paths()); list.next();) ++all_;
    });
    if (all_ == 0) throw DataError(fmt::format("{}: has no record", options_.books.front()));
    if (!options_.save_state.empty() && all_ > 1) {
      throw ConfigError(fmt::format("--save-state keeps what was read of one document, found {}", all_));
    }
    DocumentList list(paths());
    while (signal_ == 0) {
      std::optional<ListedDocument> mine;
      int taken = 0;
      std::string text;
      agree_on_error(communicator_, [&] {
        for (; taken < communicator_.size(); ++taken) {
          std::optional<ListedDocument> next = list.next();
          if (!next) break;
          if (taken == communicator_.rank()) mine = std::move(next);
        }
      });
      if (taken == 0) return;
      std::exception_ptr failure;
      try {
        agree_on_error(communicator_, [&] {
          if (mine) text = summary_of(*mine);
        });
      } catch (...) {
        failure = std::current_exception();
      }
      // What is finished is kept, whatever has become of the others.
      const auto bytes = std::as_bytes(std::span(text));
      const std::vector<std::vector<std::byte>> texts =
          communicator_.size() == 1 ? std::vector<std::vector<std::byte>>{{bytes.begin(), bytes.end()}}
                                    : communicator_.all_gather(bytes);
      for (const std::vector<std::byte>& of_rank : texts) {
        add(std::string(reinterpret_cast<const char*>(of_rank.data()), of_rank.size()));
      }
      try {
        if (results_ != nullptr && finished_ < all_) results_->keep();
      } catch (const WriteError&) {
        if (!failure) failure = std::current_exception();
      }
      if (failure) std::rethrow_exception(failure);
      signal_ = stop_request_.signal();
      communicator_.all_reduce_max({&signal_, 1});
    }
  }

  /// Nothing where a signal came before its end.
  std::string summary_of(const ListedDocument& where) {
    const SummaryPair document = read_document(where, SummaryField::ignored, options_.line_ends);
    MemoryPool pool;
    Generator reader(*saved_.model, *saved_.tokenizer, pool);
    const bool keeps = !options_.save_state.empty();
    reader.append(text_to_read(pair_, document.document, !keeps));
    return ask(reader, document.id, keeps);
  }

  void ask_state() {
    all_ = 1;
    MemoryPool pool;
    Generator reader = make_generator(options_.common, saved_, pool);
    add(ask(reader, options_.common.state, true));
    signal_ = stop_request_.signal();
  }

  std::string ask(Generator& reader, const std::string& id, bool prompts) {
    const auto goes_on = [&] { return stop_request_.signal() == 0; };
    const std::int64_t tokens = reader.tokens() + reader.unread();  // without what is asked then
    bool whole = true;
    {
      ReadingProgress progress(reader, log_);
      whole = reader.read([&] {
        progress.show();
        return goes_on();
      });
      log_.end_progress();
      log_.note(fmt::format("{}: {} of {} tokens read, at {}", printable(id), reader.tokens(), tokens,
                            format_rate(progress.done(), progress.seconds())));
    }
    if (!options_.save_state.empty()) {
      save_generator(options_.save_state, reader);
      log_.note(fmt::format("State: {}", options_.save_state));
    }
    if (!whole) return {};
    const GenerationOptions& generation = options_.common.generation;
    const std::int64_t asked = prompts ? std::ssize(saved_.tokenizer->encode(pair_.between)) : 0;
    const Summary summary = write_summary(reader, pair_, generation, prompts, goes_on);
    if (summary.result.finish == Finish::interrupted) return {};
    if (!json_) return (all_ > 1 ? fmt::format("--- {} ---\n", printable(id)) : "") + summary.text + "\n";
    const nlohmann::ordered_json line = {{"id", id},
                                         {"text", summary.text},
                                         {"finish", name_of(summary.result.finish)},
                                         {"document_tokens", tokens + asked},
                                         {"tokens", summary.result.tokens},
                                         {"seed", generation.sampling.seed}};
    // The name of a file need not be UTF-8.
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
  }

  void add(std::string summary) {
    if (summary.empty()) return;
    if (results_ != nullptr) results_->add(static_cast<std::size_t>(finished_), std::move(summary));
    ++finished_;
  }

  /// What is not complete never takes the place of what is.
  void finish(bool failed) {
    if (all_ > 1) log_.note(fmt::format("{} of {} summarized", finished_, format_plural(all_, "document")));
    try {
      if (const auto path = results_->finish(finished_ == all_)) log_.note(fmt::format("Results: {}", path->string()));
    } catch (const WriteError& error) {
      if (!failed) throw;
      log_.warn(error.what());  // the other one comes
    }
  }

  const Options& options_;
  Communicator& communicator_;
  RunLog& log_;
  KeptResults* results_;
  PairTemplate pair_;
  bool json_;
  MemoryPool pool_;
  SavedModel saved_;
  StopRequest stop_request_;
  std::int64_t signal_ = 0;  // of any rank
  std::int64_t all_ = 0, finished_ = 0;
};

int summarize(const Options& options, Communicator& communicator) {
  const bool asks = !options.common.state.empty();
  if (asks) require_one_process("summarize --state", communicator);
  if (asks != options.books.empty()) {
    throw ConfigError(asks ? "--state is what was read of a book already: leave out BOOK"
                           : "summarize needs a BOOK to read, or --state");
  }
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  std::optional<KeptResults> results;
  agree_on_error(communicator, [&] {  // before the model
    const DocumentList all({options.books.begin(), options.books.end()});
    if (!communicator.is_root()) return;
    results.emplace(options.out);
    if (!options.save_state.empty()) require_writable(options.save_state);
  });
  return Summarizing(options, communicator, log, results ? &*results : nullptr).run();
}

}  // namespace

Command add_summarize_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "summarize", "Read whole books, however long, and write a summary of each with a model trained on such pairs");
  add_generation_options(*command, options->common);
  command->add_option(
      "BOOK", options->books,
      "Text files, and .jsonl files with a \"document\" a line, a text or the path of one; .gz and .zst "
      "are decompressed");
  command
      ->add_option_function<std::string>(
          "--template", [options](const std::string& text) { options->pair_template = unescaped(text); },
          "As --pair-template of pack (default: {document}\\n\\nSummary:\\n{summary}); text behind {summary} ends it")
      ->type_name("TEXT");
  command
      ->add_option("--line-ends", options->line_ends,
                   "As with pack. keep (the default): texts as they are; lf: CR LF becomes LF")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, LineEnds>{{"keep", LineEnds::keep}, {"lf", LineEnds::lf}}, CLI::ignore_case))
      ->type_name("keep|lf");
  command
      ->add_option("--save-state", options->save_state,
                   "Where what is remembered of the book goes before a summary is written, or at SIGINT, SIGTERM or "
                   "SIGUSR1, for --state")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Lines of JSON, as palimpsest rouge takes them");
  command
      ->add_option("--out", options->out,
                   "Where the summaries go, as JSON if its name ends in .jsonl (default: standard output)")
      ->type_name("FILE");
  command->footer(
      "Books pass through the memory: what the model holds of them does not grow with their length. Under mpirun the\n"
      "ranks share the books. Summaries come in the order of the command line; whatever ends the command loses none "
      "that\n"
      "is finished: it is printed, or stands in FILE.partial until FILE is written with all of them.\n\n" +
      help_footer(
          "palimpsest summarize runs/summaries book.txt --temperature 0 --no-repeat-ngram 20\n"
          "palimpsest summarize runs/summaries book.txt.gz --beams 4 --max-tokens 300 --save-state book.state\n"
          "palimpsest summarize runs/summaries --state book.state --template '{document}\\n\\nIn short: {summary}'\n"
          "mpirun -n 4 palimpsest summarize runs/summaries pairs.jsonl --out written.jsonl\n"
          "palimpsest rouge pairs.jsonl written.jsonl"));
  return {command, [options](Communicator& communicator) { return summarize(*options, communicator); }};
}

}  // namespace palimpsest
