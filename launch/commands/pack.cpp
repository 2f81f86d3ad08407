// palimpsest pack: text files and records to token files, and the check of a token file.
#include "data/tokens/pack.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "data/text/corpus.h"
#include "data/text/hash_split.h"
#include "data/text/json_records.h"
#include "data/tokens/token_file.h"
#include "launch/commands/command.h"
#include "launch/commands/pack_jobs.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/output/table.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string input, output;
  std::string split, split_by;
  std::string metadata;  // empty: INPUT/metadata.csv, if there is one
  LineEnds line_ends = LineEnds::keep;
  RecordFormat records;
  std::string turn_template, pair_template;  // empty: RecordFormat's
  std::string tokenizer = "bytes";
  bool strict = false;
  bool force = false;
  bool allow_lossy = false;
  std::int64_t threads = 0;       // 0: by the cores
  std::uint64_t shard_bytes = 0;  // 0: no shards
  std::string check;
};

/// Where titles and years stand; nowhere when the path is empty.
fs::path metadata_path(const Options& options) {
  if (options.metadata == "none") return {};
  if (!options.metadata.empty()) return options.metadata;
  const fs::path path = fs::path(options.input) / "metadata.csv";
  return fs::exists(path) ? path : fs::path();
}

std::vector<PackJob> plan(const Options& options) {
  const fs::path input = options.input, output = options.output;
  std::vector<std::string> splits;
  if (!fs::is_regular_file(input)) splits = corpus_splits(input);
  std::optional<HashSplit> rule;
  if (!options.split_by.empty()) {
    rule = parse_hash_split(options.split_by);
    if (!splits.empty()) {
      throw ConfigError(fmt::format("{}: has the splits {} of its own, so --split-by has nothing to do", input.string(),
                                    fmt::join(splits, ", ")));
    }
    splits = rule->splits();
  }
  const fs::path metadata = metadata_path(options);
  const auto job = [&](const std::string& split, const fs::path& file) {
    return PackJob{split, rule ? input : input / split, file, options.shard_bytes, rule, metadata};
  };
  if (!options.split.empty()) {
    if (std::find(splits.begin(), splits.end(), options.split) == splits.end()) {
      throw ConfigError(fmt::format("{}: has no split {}; the splits there are: {}", input.string(), options.split,
                                    splits.empty() ? "none" : fmt::format("{}", fmt::join(splits, ", "))));
    }
    return {job(options.split, output)};
  }
  if (splits.empty()) {
    return {{input.lexically_normal().string(), input, output, options.shard_bytes, std::nullopt, metadata}};
  }
  if (output.extension() == ".h5") {
    throw ConfigError(
        fmt::format("{}: the corpus has the splits {}, so the output is a folder for a file each; name a "
                    "folder, or one split with --split",
                    output.string(), fmt::join(splits, ", ")));
  }
  std::vector<PackJob> jobs;
  for (const std::string& split : splits) jobs.push_back(job(split, output / (split + ".h5")));
  return jobs;
}

int pack(const Options& options, Communicator& communicator) {
  if (options.input.empty() || options.output.empty()) {
    throw ConfigError("pack: expected an INPUT and an OUTPUT (see palimpsest pack --help)");
  }
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  RecordFormat records = options.records;
  if (!options.turn_template.empty()) records.turn = parse_turn_template(options.turn_template);
  if (!options.pair_template.empty()) records.pair = parse_pair_template(options.pair_template);
  const std::vector<PackJob> jobs = plan(options);
  for (const PackJob& job : jobs) {
    if (!options.force && fs::exists(job.output)) {
      throw WriteError(fmt::format("{}: exists already; --force replaces it", job.output.string()));
    }
  }
  communicator.barrier();  // no rank writes before every one has looked
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer);
  const ThreadPlan threads = configure_threads(options.threads, communicator);
  for (const std::string& warning : threads.warnings) log.warn(warning);
  log.note(fmt::format("Tokenizer {}, vocabulary of {}; {} with {}", tokenizer->identity(), tokenizer->vocab_size(),
                       communicator.description(), format_plural(threads.threads, "thread")));
  const std::vector<PackReport> reports = run_pack_jobs(jobs, *tokenizer,
                                                        {.strict = options.strict,
                                                         .overwrite = options.force,
                                                         .allow_lossy = options.allow_lossy,
                                                         .line_ends = options.line_ends,
                                                         .records = records,
                                                         .threads = threads.threads},
                                                        communicator, log);
  for (const PackReport& report : reports) warn_of(report, *tokenizer, log);
  if (communicator.is_root()) fmt::print("{}", format_pack_reports(jobs, reports));
  return ExitCode::ok;
}

int check(const std::string& path) {
  const TokenFile file(path);
  file.verify();
  fmt::print("{}", format_table({{"file", "documents", "words", "bytes", "tokens"},
                                 {path, std::to_string(file.document_count()), std::to_string(file.word_count()),
                                  std::to_string(file.byte_count()), std::to_string(file.token_count())}}));
  fmt::print("Tokenizer {}, vocabulary of {}. Checksum {}: the file{} is whole.\n", file.tokenizer_identity(),
             file.vocab_size(), file.checksum(),
             file.shard_count() > 1 ? fmt::format(", in {} shards,", file.shard_count()) : "");
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
      "document each, and *.jsonl files, a document a line; such a file; or a folder in PG19's layout with train/,\n"
      "validation/ and test/ in it. Texts that are empty, unreadable or not UTF-8 are named and passed over.\n"
      "A line of JSON has the text, or prompt and completion, or messages with role and content. Prompts, and what\n"
      "others than assistants say, are masked: the model reads them and does not learn to write them.");
  command->add_option("INPUT,--input", options->input, "The folder of texts and records, or one such file")
      ->type_name("PATH");
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
  command
      ->add_option("--text-field", options->records.text_field, "Of records: what the text is called (default: text)")
      ->type_name("NAME");
  command
      ->add_option("--records", options->records.kind,
                   "What records are: auto (the default) by the fields that they have, text, completion (prompt and\n"
                   "completion), chat (messages) or summary (document, a text or a path, and summary)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, RecordKind>{{"auto", RecordKind::automatic},
                                                                            {"text", RecordKind::text},
                                                                            {"completion", RecordKind::completion},
                                                                            {"chat", RecordKind::chat},
                                                                            {"summary", RecordKind::summary}},
                                          CLI::ignore_case))
      ->type_name("auto|text|completion|chat|summary");
  command
      ->add_option_function<std::string>(
          "--turn-template", [options](const std::string& text) { options->turn_template = unescaped(text); },
          "What each turn of a conversation becomes (default: {role}:\\n{content}\\n\\n); \\n is a line end, \\t a tab")
      ->type_name("TEXT");
  command
      ->add_option_function<std::string>(
          "--pair-template", [options](const std::string& text) { options->pair_template = unescaped(text); },
          "What a document and its summary become (default: {document}\\n\\nSummary:\\n{summary})")
      ->type_name("TEXT");
  command
      ->add_option("--split-by", options->split_by,
                   "Share the files and records of a folder without splits: hash:98/1/1 by a hash of their names, in\n"
                   "these proportions of train, validation and test")
      ->type_name("RULE");
  command
      ->add_option("--metadata", options->metadata,
                   "Titles and years: a CSV file of id, title, year and url (default: metadata.csv in INPUT, if there\n"
                   "is one), or none")
      ->type_name("FILE");
  command
      ->add_option("--line-ends", options->line_ends,
                   "keep (the default): texts as they are; lf: CR LF becomes LF, before anything is counted")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, LineEnds>{{"keep", LineEnds::keep}, {"lf", LineEnds::lf}}, CLI::ignore_case))
      ->type_name("keep|lf");
  command
      ->add_option(
          "--shard-bytes", options->shard_bytes,
          "Cut a token file into shards of at most so much text (256M, 1G), each of which is kept when pack is\n"
          "killed; started again, it goes on. Under mpirun ranks pack shards of their own")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 50))
      ->type_name("BYTES");
  command->add_option("--threads", options->threads, "Threads per rank (default: the cores there are)")
      ->check(whole_number_from(1));
  command->add_option("--check", options->check, "Pack nothing: verify every token of a token file")->type_name("FILE");
  command->footer(
      help_footer("palimpsest pack books/ books.h5\n"
                  "palimpsest pack pg19/ packed/ --tokenizer pg19.model\n"
                  "palimpsest pack --input pg19/ --split test --output test.h5 --strict\n"
                  "palimpsest pack books/ packed/ --split-by hash:98/1/1 --line-ends lf\n"
                  "palimpsest pack pairs.jsonl pairs.h5 --records summary\n"
                  "palimpsest pack chats.jsonl chats.h5 --turn-template '<{role}>{content}</{role}>'\n"
                  "mpirun -n 4 palimpsest pack pg19/ packed/ --tokenizer pg19.model --shard-bytes 1G\n"
                  "palimpsest pack --check packed/train.h5"));
  return {command, [options](Communicator& communicator) {
            if (options->check.empty()) return pack(*options, communicator);
            return communicator.is_root() ? check(options->check) : ExitCode::ok;
          }};
}

}  // namespace palimpsest
