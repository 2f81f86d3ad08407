// palimpsest passkey: hides keys in long texts and counts how many a trained model finds.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/passkey_result.h"
#include "launch/commands/token_progress.h"
#include "launch/inference/passkey_evaluation.h"
#include "launch/inference/passkey_report.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
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
  std::int64_t step = 0;             // 0: the newest
  std::vector<std::string> lengths;  // empty: those below
  std::vector<double> depths = {0, 0.5, 1};
  PasskeyOptions passkey;
  std::int64_t digits = 0, keys = 0, updates = -1;  // 0 and -1: as the model was trained
  std::string filler;
  std::string json;
  bool again = false;
  std::optional<std::string> hide;
  std::int64_t threads = 0;
};

/// "1000", "32k", "1m": k and m are 1,024 and 1,048,576. Throws ConfigError.
std::int64_t parse_length(const std::string& text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const std::string_view suffix(rest, static_cast<std::size_t>(end - rest));
  const std::int64_t unit = suffix.empty()                   ? 1
                            : suffix == "k" || suffix == "K" ? 1 << 10
                            : suffix == "m" || suffix == "M" ? 1 << 20
                                                             : 0;
  constexpr std::int64_t most = std::int64_t{1} << 40;
  if (error != std::errc() || unit == 0 || number < 1 || number > most / unit) {
    throw ConfigError(fmt::format("--lengths: \"{}\" is no number of tokens: expected one like 5000, 32k or 1m", text));
  }
  return number * unit;
}

std::vector<PasskeyCell> cells_of(const Options& options) {
  static const std::vector<std::string> usual = {"32k", "128k", "1m"};
  std::vector<PasskeyCell> cells;
  for (const std::string& text : options.lengths.empty() ? usual : options.lengths) {
    for (const double depth : options.depths) {
      if (!(depth >= 0 && depth <= 1)) {
        throw ConfigError(fmt::format("--depths: {} is not between 0 (the start) and 1 (the question)", depth));
      }
      const PasskeyCell cell{parse_length(text), depth, {}};
      const auto same = [&](const PasskeyCell& other) { return other.length == cell.length && other.depth == depth; };
      if (std::ranges::none_of(cells, same)) cells.push_back(cell);
    }
  }
  return cells;
}

std::shared_ptr<const PasskeyLanguage> language_of(const Options& options, const SavedModel& saved,
                                                   std::shared_ptr<const Tokenizer> tokenizer) {
  const DataConfig& data = saved.config.data;
  PasskeyTask task;
  if (data.kind == DataKind::passkey) task = {data.passkey.digits, data.passkey.keys, data.passkey.updates};
  for (const MixtureEntry& entry : data.mixture) {
    if (entry.kind != DataKind::passkey) continue;
    task = {entry.passkey.digits, entry.passkey.keys, entry.passkey.updates};
    break;
  }
  if (options.digits > 0) task.digits = options.digits;
  if (options.hide) task.digits = static_cast<std::int64_t>(options.hide->size());
  if (options.keys > 0) task.keys = options.keys;
  if (options.updates >= 0) task.updates = options.updates;
  std::shared_ptr<const TokenFile> filler;
  if (!options.filler.empty()) filler = std::make_shared<const TokenFile>(options.filler);
  return std::make_shared<const PasskeyLanguage>(std::move(tokenizer), task, std::move(filler));
}

/// What the samples depend on, beside length, depth and number.
nlohmann::ordered_json task_of(const Options& options, const SavedModel& saved, const PasskeyLanguage& language) {
  std::vector<std::string> hashes;
  for (const auto& file : saved.checkpoint->files()) hashes.push_back(file.fingerprint.hash);
  return {{"prompts", prompts_version(language.task())},
          {"step", saved.progress.step},
          {"checkpoint_hashes", hashes},
          {"digits", language.task().digits},
          {"keys", language.task().keys},
          {"updates", language.task().updates},
          {"filler", language.text() == nullptr ? "" : language.text()->checksum()},
          {"seed", options.passkey.seed}};
}

/// Where results go; empty: nowhere.
std::filesystem::path json_path(const Options& options, const SavedModel& saved, const PasskeyLanguage& language) {
  const auto run_directory = run_directory_of(*saved.checkpoint);
  if (!options.json.empty() || run_directory.empty()) return options.json;
  const PasskeyTask& task = language.task();
  std::string name = fmt::format("passkey-step-{:08}-digits-{}", saved.progress.step, task.digits);
  if (task.keys > 1) name += fmt::format("-keys-{}", task.keys);
  if (task.updates > 0) name += fmt::format("-updates-{}", task.updates);
  if (language.text() != nullptr) name += "-" + language.text()->path().stem().string();
  return RunDirectory(run_directory).evaluation() / (name + ".json");
}

/// --hide: one prompt with a key that the user has chosen, and what the model answers.
int find_one_key(const Options& options, const LanguageModel& model,
                 const std::shared_ptr<const PasskeyLanguage>& language, RunLog& log) {
  PasskeyCell cell = cells_of(options).front();
  if (options.lengths.empty() && language->text() != nullptr) cell.length = language->text()->token_count();
  Draws draws(Random(options.passkey.seed, RandomPurpose::evaluation));
  const PasskeyPrompt prompt = PasskeyPrompt::for_evaluation(language, cell.length, cell.depth, draws, *options.hide);
  const auto& statements = prompt.statements();
  const auto hidden = std::ranges::find_if(statements, [&](const auto& statement) {
    return statement.digits == *options.hide && statement.key == prompt.asked_key();
  });
  fmt::print("A text of {} tokens. Token {} is followed by: {}\n", cell.length, hidden->begin,
             language->tokenizer().decode(hidden->tokens));
  std::fflush(stdout);
  const StopRequest stop_request;
  const auto start = Pace::Clock::now();
  TokenProgress progress(log);
  MemoryPool pool;
  const std::string answer = write_answer(model, *language, prompt, pool, [&](const EvaluationProgress& now) {
    progress.show(now);
    return stop_request.signal() != 0;
  });
  log.end_progress();
  if (stop_request.signal() != 0) return ExitCode::signal_base + stop_request.signal();
  const double seconds = seconds_since(start);
  std::vector<std::int32_t> question(static_cast<std::size_t>(prompt.answer_begin() - prompt.question_begin()));
  prompt.read(prompt.question_begin(), question);
  fmt::print("{} {}\n", language->tokenizer().decode(question), answer);
  log.note(fmt::format("Read in {}, {} tokens/s", format_duration(seconds),
                       format_count(static_cast<double>(prompt.length()) / seconds)));
  return ExitCode::ok;
}

int find_keys(const Options& options, Communicator& communicator) {
  std::vector<PasskeyCell> cells = cells_of(options);
  if (options.hide) {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (options.hide->empty() || !std::ranges::all_of(*options.hide, is_digit)) {
      throw ConfigError(fmt::format("--hide: \"{}\" is no key: expected digits", *options.hide));
    }
    if (communicator.size() > 1) throw ConfigError("--hide reads one text in one process: start it without mpirun");
  }
  RunLog log = communicator.is_root() ? RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)) : RunLog();
  const ThreadPlan threads = configure_threads(options.threads, communicator);
  for (const std::string& warning : threads.warnings) log.warn(warning);
  MemoryPool pool;
  SavedModel saved = open_model(options.model, options.step, communicator, pool);
  if (const auto text = precision_warning(saved.config.train.precision, saved.model->compute_type()); !text.empty()) {
    log.warn(text);
  }
  const auto language = language_of(options, saved, std::move(saved.tokenizer));
  if (options.hide) return find_one_key(options, *saved.model, language, log);
  PasskeyResult file(json_path(options, saved, *language), task_of(options, saved, *language));
  const std::int64_t before = file.load(cells, options.again, communicator);
  const StopRequest stop_request;
  const PasskeyTask& task = language->task();
  log.note(fmt::format("Passkey retrieval with {} (step {}): {} of {} digits{}, hidden in {}; {}, {} each",
                       saved.path().string(), saved.progress.step, format_plural(task.keys, "key"), task.digits,
                       task.updates > 0 ? fmt::format(", replaced {}", format_plural(task.updates, "time")) : "",
                       language->text() == nullptr ? "the paper's sentences" : language->text()->path().string(),
                       communicator.description(), format_plural(threads.threads, "thread")));
  if (before > 0) log.note(fmt::format("Going on: {} are there already", format_plural(before, "sample")));

  MemoryPool pass_pool;
  PasskeyEvaluation evaluation(*saved.model, language, options.passkey, communicator, pass_pool);
  TokenProgress progress(log);
  std::int64_t signal = 0;
  const auto between = [&](const EvaluationProgress& now) {
    progress.show(now);
    signal = stop_request.signal();
    communicator.all_reduce_max(std::span(&signal, 1));
    return signal != 0;
  };
  const bool complete = evaluation.run(cells, between, [&](const std::vector<PasskeyCell>& all) {
    if (communicator.is_root()) file.save(all);
  });
  log.end_progress();
  if (communicator.is_root()) {
    if (!complete) {
      log.note(fmt::format("Stopped by {}; the same command goes on", signal_name(static_cast<int>(signal))));
    }
    fmt::print(
        "Keys found whole, % (95 % interval), and digits found, %; the same without the memory, chance being {:.2g} "
        "and "
        "10 %\n{}",
        100 * std::pow(10.0, -static_cast<double>(task.digits)), format_passkey(cells));
    if (!file.path().empty()) log.note(fmt::format("Result: {}", file.path().string()));
  }
  return complete ? ExitCode::ok : ExitCode::signal_base + static_cast<int>(signal);
}

}  // namespace

Command add_passkey_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  PasskeyOptions& passkey = options->passkey;
  CLI::App* command = program.add_subcommand(
      "passkey", "Hide keys in texts of up to millions of tokens and count those that are found");
  add_model_options(*command, options->model, options->step);
  command
      ->add_option("--lengths", options->lengths,
                   "Tokens of the prompts, k for 1,024 and m for 1,048,576 (default: 32k,128k,1m)")
      ->delimiter(',')
      ->type_name("LENGTH,...");
  command
      ->add_option("--depths", options->depths,
                   "Where the key is: 0 near the start, 1 near the question (default: 0,0.5,1)")
      ->delimiter(',')
      ->type_name("DEPTH,...");
  command->add_option("--samples", passkey.samples, "Prompts of each length and depth (default: 20)")
      ->check(whole_number_from(1));
  command->add_option("--digits", options->digits, "Of a key (default: as in training, or 4)")
      ->check(whole_number_from(1));
  command
      ->add_option("--keys", options->keys,
                   "Hidden in a prompt, one of which is asked for (default: as in training, or 1)")
      ->check(whole_number_from(1));
  command
      ->add_option("--updates", options->updates,
                   "How often a key is replaced later on; the last one is asked for (default: as in training, or 0)")
      ->check(whole_number_from(0));
  command
      ->add_option("--filler", options->filler, "Token file whose text hides the keys (default: the paper's sentences)")
      ->type_name("FILE");
  command
      ->add_option(
          "--hide", options->hide,
          "Hide this key once, in a text of the first length (default: of the filler file, where there is one) at the "
          "first depth, and print the answer")
      ->type_name("DIGITS");
  command->add_option("--seed", passkey.seed, "Of the prompts (default: 1)");
  command->add_option("--batch-size", passkey.batch_size, "Prompts that a rank reads at once (default: 8)")
      ->check(whole_number_from(1));
  command
      ->add_option("--json", options->json, "Where the result goes as JSON (default: evaluation/ in the run directory)")
      ->type_name("FILE");
  command->add_flag("--again", options->again, "Replace a result that is there instead of going on with it");
  command->add_option("--threads", options->threads, "Threads per rank (default: the cores there are)")
      ->check(whole_number_from(1));
  command->footer(
      "A key counts as found when each of its digits was the likeliest token, those before it given. Beside it stands\n"
      "the same with the memory knocked out: only the last segment is read. The memory that this takes does not grow\n"
      "with the length. Prompts are shared over ranks. SIGINT, SIGTERM and SIGUSR1 end it; the same command goes "
      "on.\n\n" +
      help_footer("palimpsest passkey runs/passkey\n"
                  "palimpsest passkey runs/passkey --hide 9054 --lengths 1m --depths 0.5\n"
                  "palimpsest passkey runs/passkey --lengths 32k,128k,256k,512k,1m --depths 0,0.25,0.5,0.75,1\n"
                  "mpirun -n 2 palimpsest passkey runs/passkey --lengths 10m --samples 5 --filler books/test.h5"));
  return {command, [options](Communicator& communicator) { return find_keys(*options, communicator); }};
}

}  // namespace palimpsest
