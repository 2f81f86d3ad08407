// palimpsest eval: perplexities and bits per byte of a trained model over a split.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/token_progress.h"
#include "launch/inference/evaluation.h"
#include "launch/inference/memory_resets.h"
#include "launch/inference/named_split.h"
#include "launch/inference/score_report.h"
#include "launch/inference/text_documents.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"
#include "launch/training/run_plan.h"
#include "launch/training/saved_model.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model;
  std::int64_t step = 0;  // 0: the newest
  std::string split = "test";
  std::string data;
  std::vector<std::string> texts;  // instead of a token file
  std::string json, csv;
  std::int64_t batch_size = 0;
  std::int64_t max_documents = 0;
  std::int64_t memory_segments = 0;
  std::int64_t window = 0;  // 0: whole documents
  std::int64_t stride = 0;
  std::int64_t threads = 0;
  std::int64_t sequence_ranks = 1;
};

/// Texts have no split; --data goes before it.
NamedSplit split_of(const Options& options, const RunConfig& config) {
  if (!options.texts.empty() || !options.data.empty()) return {options.data, ""};
  return find_split(config, options.split, "name a token file with --data");
}

/// What is evaluated. Every rank encodes the texts of the command line for itself.
std::unique_ptr<TokenFile> open_documents(const Options& options, const std::string& path, const SavedModel& saved) {
  if (!options.texts.empty()) return read_text_documents(options.texts, *saved.tokenizer);
  auto file = std::make_unique<TokenFile>(path);
  if (file->tokenizer_identity() != saved.tokenizer->identity()) {
    throw DataError(fmt::format("{}: was packed with tokenizer {}, the model was trained with {}",
                                file->path().string(), file->tokenizer_identity(), saved.tokenizer->identity()));
  }
  return file;
}

/// What is not complete never takes the place of what is.
std::filesystem::path partial_unless(bool complete, std::filesystem::path path) {
  if (!complete && !path.empty()) path.replace_extension(".partial" + path.extension().string());
  return path;
}

/// Where the result goes; empty: nowhere.
std::filesystem::path json_path(const Options& options, const SavedModel& saved, const std::string& name) {
  const auto run_directory = run_directory_of(*saved.checkpoint);
  if (!options.json.empty() || !options.texts.empty() || run_directory.empty()) return options.json;
  std::string reading = options.memory_segments > 0 ? "-memory-" + memory_name(options.memory_segments) : "";
  std::ranges::replace(reading, ':', '-');
  if (options.window > 0) reading = fmt::format("-window-{}-stride-{}", options.window, options.stride);
  return RunDirectory(run_directory).evaluation() /
         fmt::format("{}-step-{:08}{}.json", name, saved.progress.step, reading);
}

void write_results(const Options& options, const SavedModel& saved, const TokenFile& file, const std::string& data,
                   const std::string& set, const EvaluationResult& result, RunLog& log) {
  const auto write = [&](const std::filesystem::path& asked, const std::string& content) {
    const std::filesystem::path path = partial_unless(result.complete(), asked);
    if (path.empty()) return;
    write_result(path, content);
    log.note(fmt::format("Result: {}", path.string()));
  };
  nlohmann::ordered_json json = {{"checkpoint", saved.path().string()},
                                 {"step", saved.progress.step},
                                 {"data", data},
                                 {"data_checksum", file.checksum()}};
  if (!set.empty()) json["set"] = set;
  json.update(to_json(result));
  // Names of files need not be UTF-8.
  const std::string name = set.empty() ? file.path().stem().string() : set;
  write(json_path(options, saved, name), json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
  if (!options.csv.empty()) write(options.csv, to_csv(result));
}

int evaluate_model(Options options, Communicator& communicator) {
  if (options.window > 0 && options.stride == 0) options.stride = options.window - options.window / 2;
  check_sequence_ranks("--sequence-ranks", options.sequence_ranks, communicator.size());
  const std::unique_ptr<Communicator> together = sequence_group(communicator, options.sequence_ranks);
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  const ThreadPlan threads = configure_threads(options.threads, communicator);
  for (const std::string& warning : threads.warnings) log.warn(warning);
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  if (const auto text = precision_warning(saved.config.train.precision, saved.model->compute_type()); !text.empty()) {
    log.warn(text);
  }
  const RunConfig config =
      std::filesystem::is_regular_file(options.model) ? load_run_config(options.model) : saved.config;
  const NamedSplit split = split_of(options, config);
  const std::unique_ptr<TokenFile> documents = open_documents(options, split.file, saved);
  const TokenFile& file = *documents;
  const std::string data =
      options.texts.empty() ? file.path().string() : fmt::format("{}", fmt::join(options.texts, ", "));
  const StopRequest stop_request;
  log.note(fmt::format("Evaluating {} (step {}) on {}: {}, {} tokens; {}, {} each", saved.path().string(),
                       saved.progress.step, data, format_plural(file.document_count(), "document"), file.token_count(),
                       communicator.description(), format_plural(threads.threads, "thread")));

  if (file.lossy_documents() > 0) {
    log.warn(
        fmt::format("{} of {} documents hold text that their tokens do not give back: perplexity per word and bits per "
                    "byte look better than they are",
                    file.lossy_documents(), file.document_count()));
  }
  RunConfig machine = saved.config;
  machine.train.memory_budget = config.train.memory_budget;
  const EvaluationOptions evaluation = {
      .batch_size = options.batch_size > 0 ? options.batch_size : config.evaluation.batch_size,
      .tokens_at_once = saved.config.train.sequence_length,
      .max_documents = options.max_documents,
      .memory_segments = options.memory_segments,
      .memory_budget = pass_budget(machine, saved.model->compute_type(), threads.ranks_on_host, {}),
      .window = options.window,
      .stride = options.stride,
      .sequence_ranks = together.get()};
  MemoryPool pass_pool;
  Evaluation run(*saved.model, file, communicator, evaluation, pass_pool);
  TokenProgress progress(log, "", " on this rank");
  std::int64_t signal = 0;
  const EvaluationResult result = run.run([&](const EvaluationProgress& now) {
    progress.show(now);
    signal = stop_request.signal();
    communicator.all_reduce_max(std::span(&signal, 1));
    return signal != 0;
  });
  log.end_progress();
  const int exit_code = result.complete() ? ExitCode::ok : ExitCode::signal_base + static_cast<int>(signal);
  if (!communicator.is_root()) return exit_code;

  if (!result.complete()) {
    const auto complete = static_cast<std::int64_t>(result.documents.size());
    log.note(fmt::format("Stopped by {}: {} complete, {} not", signal_name(static_cast<int>(signal)),
                         format_plural(complete, "document"), result.unfinished));
    if (complete == 0) return exit_code;
  }
  fmt::print("{}", format_evaluation(result));
  write_results(options, saved, file, data, split.set, result, log);
  return exit_code;
}

}  // namespace

Command add_eval_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "eval", "Measure a trained model: perplexity per token and word, bits per byte over a split");
  add_model_options(*command, options->model, options->step);
  command
      ->add_option("--split", options->split,
                   "Which of the configuration's token files: train, validation, test or one of evaluation.sets "
                   "(default: test)")
      ->type_name("NAME");
  command->add_option("--data", options->data, "Another token file instead")->type_name("FILE");
  command
      ->add_option("TEXT", options->texts,
                   "Text files, and folders of *.txt files, instead of a token file: each file is a document")
      ->type_name("PATH")
      ->excludes("--data")
      ->excludes("--split");
  command
      ->add_option("--json", options->json, "Where the result goes as JSON (default: evaluation/ in the run directory)")
      ->type_name("FILE");
  command->add_option("--csv", options->csv, "Where the result goes as CSV as well (default: nowhere)")
      ->type_name("FILE");
  command
      ->add_option("--batch-size", options->batch_size,
                   "Documents a rank reads at once (default: evaluation.batch_size)")
      ->check(whole_number_from(1));
  command->add_option("--max-documents", options->max_documents, "Only the first so many documents")
      ->check(whole_number_from(1));
  command
      ->add_option_function<std::string>(
          "--memory",
          [options](const std::string& name) {
            const auto segments = memory_segments(name);
            if (!segments) {
              throw CLI::ValidationError(fmt::format("--memory: '{}' is not kept, none or reset:SEGMENTS", name));
            }
            options->memory_segments = *segments;
          },
          "kept (the default), none: every segment begins with empty memory, or reset:SEGMENTS: every so many do")
      ->type_name("NAME");
  command
      ->add_option("--window", options->window,
                   "Read windows of so many tokens that slide over each document: for attention of kind full, and of "
                   "kind local up to the segment's length")
      ->type_name("TOKENS")
      ->check(whole_number_from(1));
  command
      ->add_option("--stride", options->stride,
                   "How far apart windows begin, so that tokens have --window minus --stride tokens before them "
                   "(default: half the window)")
      ->type_name("TOKENS")
      ->check(whole_number_from(1))
      ->needs("--window");
  command
      ->add_option("--sequence-ranks", options->sequence_ranks,
                   "Neighbouring ranks that read each document together, each a run of its segments (default: 1)")
      ->check(whole_number_from(1));
  command->add_option("--threads", options->threads, "Threads per rank (default: the cores there are)")
      ->check(whole_number_from(1));
  command->footer(
      "Every token of every document counts, and the memory is carried through each whole document. Documents are\n"
      "shared over ranks, or over groups of --sequence-ranks, where a long one is to be read faster; the result "
      "depends\n"
      "neither on their number nor on --batch-size. SIGINT, SIGTERM and SIGUSR1 end it after the batch in hand: what "
      "is\n"
      "printed and written, as FILE.partial.json, is then of the documents that are complete. What --memory none\n"
      "loses is what the memory contributes; such a result has a name of its own and replaces no other. That of texts\n"
      "given on the command line is printed, and written with --json or --csv only. --window shares windows, not\n"
      "documents, over ranks.\n\n" +
      help_footer("palimpsest eval runs/quickstart --split test\n"
                  "mpirun -n 2 palimpsest eval configs/quickstart.yaml --split test --json test.json\n"
                  "palimpsest eval runs/quickstart --memory none\n"
                  "palimpsest eval runs/law --split books\n"
                  "palimpsest eval runs/quickstart book.txt essays/ --csv result.csv\n"
                  "palimpsest eval runs/full --window 1024 --stride 256\n"
                  "mpirun -n 4 palimpsest eval runs/quickstart --sequence-ranks 4 --max-documents 1\n"
                  "palimpsest eval runs/quickstart --step 400 --data other.tokens.h5"));
  return {command, [options](Communicator& communicator) { return evaluate_model(*options, communicator); }};
}

}  // namespace palimpsest
