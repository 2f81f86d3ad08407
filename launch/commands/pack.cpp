// palimpsest pack: text files to token files, and the check of a token file.
#include "data/tokens/pack.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "data/text/corpus.h"
#include "data/tokens/token_file.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string input, output;
  std::string split;
  std::string tokenizer = "bytes";
  bool strict = false;
  bool force = false;
  bool allow_lossy = false;
  std::string check;
};

/// One folder of texts and the token file it becomes.
struct Job {
  std::string name;
  fs::path folder, output;
};

std::vector<Job> plan(const Options& options) {
  const fs::path input = options.input, output = options.output;
  const std::vector<std::string> splits = corpus_splits(input);
  if (!options.split.empty()) {
    if (std::find(splits.begin(), splits.end(), options.split) == splits.end()) {
      throw ConfigError(fmt::format("{}: has no split {}; the splits there are: {}", input.string(), options.split,
                                    splits.empty() ? "none" : fmt::format("{}", fmt::join(splits, ", "))));
    }
    return {{options.split, input / options.split, output}};
  }
  if (splits.empty()) return {{input.lexically_normal().string(), input, output}};
  if (output.extension() == ".h5") {
    throw ConfigError(
        fmt::format("{}: the corpus has the splits {}, so the output is a folder for a file each; name a "
                    "folder, or one split with --split",
                    output.string(), fmt::join(splits, ", ")));
  }
  std::vector<Job> jobs;
  for (const std::string& split : splits) jobs.push_back({split, input / split, output / (split + ".h5")});
  return jobs;
}

/// Shows how far packing is, at most ten times a second, and once in ten seconds as a line that stays.
class PackProgress {
 public:
  PackProgress(RunLog& log, std::string name) : log_(log), name_(std::move(name)) {}

  void operator()(const PackReport& report) {
    const auto now = std::chrono::steady_clock::now();
    if (now - shown_ < std::chrono::milliseconds(100)) return;
    shown_ = now;
    const bool lasting = now - lasted_ > std::chrono::seconds(10);
    if (lasting) lasted_ = now;
    log_.progress(fmt::format("{}: {} of {} files, {} tokens", name_, report.files_read, report.files,
                              format_count(static_cast<double>(report.tokens))),
                  lasting);
  }

 private:
  RunLog& log_;
  std::string name_;
  std::chrono::steady_clock::time_point shown_{}, lasted_ = std::chrono::steady_clock::now();
};

/// "3 (1 empty, 2 not UTF-8)"
std::string describe_skipped(const std::vector<CorpusProblem>& problems) {
  if (problems.empty()) return "0";
  std::map<CorpusProblem::Kind, int> counts;
  for (const CorpusProblem& problem : problems) ++counts[problem.kind];
  std::vector<std::string> kinds;
  for (const auto& [kind, count] : counts) kinds.push_back(fmt::format("{} {}", count, name_of(kind)));
  return fmt::format("{} ({})", problems.size(), fmt::join(kinds, ", "));
}

void warn_of(const PackReport& report, const Tokenizer& tokenizer, RunLog& log) {
  constexpr std::size_t shown = named_documents;
  for (std::size_t i = 0; i < std::min(report.problems.size(), shown); ++i) {
    log.warn(fmt::format("skipped {}: {}", report.problems[i].path, report.problems[i].reason));
  }
  if (report.problems.size() > shown) log.warn(fmt::format("skipped {} more", report.problems.size() - shown));
  if (report.lossy_documents > 0) {
    log.warn(
        fmt::format("{} of {} documents do not come back from their tokens as they were; their perplexity per word and "
                    "bits per byte will look better than they are. The token file says so",
                    report.lossy_documents, report.documents));
    for (const LossyDocument& document : report.lossy) {
      log.warn(fmt::format("lossy: {}: {}", document.name, document.difference));
    }
  }
  if (report.unknown_tokens > 0) {
    log.warn(
        fmt::format("{} of {} tokens are the unknown token {}: the tokenizer cannot express that text, and "
                    "perplexities per word or byte will look better than they are",
                    report.unknown_tokens, report.tokens, tokenizer.unknown_id()));
  }
}

int pack(const Options& options, RunLog& log) {
  if (options.input.empty() || options.output.empty()) {
    throw ConfigError("pack: expected an INPUT folder and an OUTPUT (see palimpsest pack --help)");
  }
  const std::vector<Job> jobs = plan(options);
  for (const Job& job : jobs) {
    if (!options.force && fs::exists(job.output)) {
      throw WriteError(fmt::format("{}: exists already; --force replaces it", job.output.string()));
    }
  }
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer);
  log.note(fmt::format("Tokenizer {}, vocabulary of {}", tokenizer->identity(), tokenizer->vocab_size()));
  std::vector<std::vector<std::string>> table = {
      {"file", "documents", "words", "bytes", "tokens", "bytes/token", "skipped"}};
  for (const Job& job : jobs) {
    const PackReport report =
        pack_folder(job.folder, job.output, *tokenizer,
                    {.strict = options.strict, .overwrite = options.force, .allow_lossy = options.allow_lossy},
                    PackProgress(log, job.name));
    log.end_progress();
    warn_of(report, *tokenizer, log);
    table.push_back({job.output.string(), std::to_string(report.documents), std::to_string(report.words),
                     std::to_string(report.bytes), std::to_string(report.tokens),
                     fmt::format("{:.2f}", static_cast<double>(report.bytes) / static_cast<double>(report.tokens)),
                     describe_skipped(report.problems)});
  }
  fmt::print("{}", format_table(table));
  return ExitCode::ok;
}

int check(const std::string& path) {
  const TokenFile file(path);
  file.verify();
  fmt::print("{}", format_table({{"file", "documents", "words", "bytes", "tokens"},
                                 {path, std::to_string(file.document_count()), std::to_string(file.word_count()),
                                  std::to_string(file.byte_count()), std::to_string(file.token_count())}}));
  fmt::print("Tokenizer {}, vocabulary of {}. Checksum {}: the file is whole.\n", file.tokenizer_identity(),
             file.vocab_size(), file.checksum());
  if (file.lossy_documents() > 0) {
    fmt::print("{} of {} documents do not come back from their tokens as they were (--allow-lossy).\n",
               file.lossy_documents(), file.document_count());
  }
  return ExitCode::ok;
}

}  // namespace

Command add_pack_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "pack",
      "Turn text files into token files for training and evaluation. INPUT is a folder of *.txt files, a\n"
      "document each, or a folder in PG19's layout with train/, validation/ and test/ in it. Files that are\n"
      "empty, unreadable or not UTF-8 are named and passed over.");
  command->add_option("INPUT,--input", options->input, "The folder of texts")->type_name("FOLDER");
  command
      ->add_option("OUTPUT,--output", options->output,
                   "The token file; for PG19's layout without --split the folder of train.h5, validation.h5, test.h5")
      ->type_name("PATH");
  command->add_option("--split", options->split, "Pack only this split of a corpus in PG19's layout")
      ->check(CLI::IsMember({"train", "validation", "test"}));
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "\"bytes\" (the default), or a SentencePiece model (palimpsest tokenizer train makes one)")
      ->type_name("bytes|FILE");
  command->add_flag("--strict", options->strict,
                    "Refuse the corpus, and write nothing, over a file that cannot be used");
  command->add_flag("--allow-lossy", options->allow_lossy,
                    "Pack documents, too, that the tokenizer does not give back as they were, and note it in the file");
  command->add_flag("--force", options->force, "Replace token files that exist");
  command->add_option("--check", options->check, "Pack nothing: verify every token of a token file")->type_name("FILE");
  command->footer(
      help_footer("palimpsest pack books/ books.h5\n"
                  "palimpsest pack pg19/ packed/ --tokenizer pg19.model\n"
                  "palimpsest pack --input pg19/ --split test --output test.h5 --strict\n"
                  "palimpsest pack --check packed/train.h5"));
  return {command, [options](Communicator& communicator) {
            if (communicator.size() > 1) {
              throw ConfigError(fmt::format("pack runs as one process, found {}", communicator.description()));
            }
            if (!options->check.empty()) return check(options->check);
            RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
            return pack(*options, log);
          }};
}

}  // namespace palimpsest
