// palimpsest generate: continues a prompt with a trained model.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/inference/generator.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_log.h"
#include "launch/training/run_plan.h"
#include "launch/training/saved_model.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model;
  std::int64_t step = 0;  // 0: the newest
  std::string prompt;
  std::string prompt_file;
  GenerationOptions generation;
  std::int64_t threads = 0;
  bool quiet = false;
};

std::string read_prompt(const Options& options) {
  if (options.prompt_file.empty()) return options.prompt;
  if (options.prompt_file == "-") return read_input(std::cin, "standard input");
  std::error_code error;
  if (std::filesystem::is_directory(options.prompt_file, error)) {
    throw FileError(fmt::format("{}: is a directory: expected a text file", options.prompt_file));
  }
  std::ifstream file(options.prompt_file, std::ios::binary);
  if (!file) throw FileError(fmt::format("{}: cannot be read: {}", options.prompt_file, std::strerror(errno)));
  return read_input(file, options.prompt_file);
}

void write_to_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw WriteError(fmt::format("standard output cannot be written: {}", std::strerror(errno)));
  }
}

int generate_text(const Options& options, Communicator& communicator) {
  if (communicator.size() > 1) throw ConfigError("generate runs in one process: start it without mpirun");
  check(options.generation.sampling);
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const ThreadPlan threads = configure_threads(options.threads, communicator);
  for (const std::string& warning : threads.warnings) log.warn(warning);
  const std::string prompt = read_prompt(options);
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  if (const auto text = precision_warning(saved.config.train.precision, saved.model->compute_type()); !text.empty()) {
    log.warn(text);
  }

  if (!options.quiet) write_to_stdout(prompt);
  const GenerationResult result =
      generate(*saved.model, *saved.tokenizer, prompt, options.generation, write_to_stdout,
               [&](std::int64_t done, std::int64_t all) {
                 log.progress(fmt::format("reading the prompt: {} of {} tokens", done, all), /*lasting=*/false);
                 if (done == all) log.end_progress();
               });
  write_to_stdout("\n");
  const auto rate = [](std::int64_t tokens, double seconds) {
    return format_count(static_cast<double>(tokens) / std::max(seconds, 1e-9));
  };
  log.note(fmt::format("{} prompt tokens at {} tokens/s, {} generated at {} tokens/s{}", result.prompt_tokens,
                       rate(result.prompt_tokens, result.prompt_seconds), result.generated_tokens,
                       rate(result.generated_tokens, result.generation_seconds),
                       result.ended ? ", ended by the model" : ""));
  return ExitCode::ok;
}

}  // namespace

Command add_generate_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  SamplingOptions& sampling = options->generation.sampling;
  CLI::App* command = program.add_subcommand("generate", "Continue a prompt with a trained model");
  add_model_options(*command, options->model, options->step);
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "Text to continue (default: start a document)");
  command
      ->add_option("--prompt-file", options->prompt_file,
                   "File with the text to continue, 1 GiB at most; - reads standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  command->add_option("--max-tokens", options->generation.max_tokens, "Stop after so many tokens (default: 200)")
      ->check(whole_number_from(0));
  command->add_option("--temperature", sampling.temperature, "0 always takes the likeliest token (default: 1)");
  command->add_option("--top-k", sampling.top_k, "Sample among the k likeliest tokens (default: 0, all)");
  command->add_option("--top-p", sampling.top_p, "Sample among the likeliest tokens that reach p (default: 1, all)");
  command->add_option("--seed", sampling.seed, "Of the random numbers (default: 1)");
  command->add_option("--threads", options->threads, "Threads (default: the cores there are)")
      ->check(whole_number_from(1));
  command->add_flag("--quiet", options->quiet, "Print only what is generated, not the prompt before it");
  command->footer(
      "The whole prompt, however long, passes through the memory; the text goes to standard output as it comes. The\n"
      "same seed gives the same text.\n\n" +
      help_footer("palimpsest generate runs/quickstart --prompt \"It is a truth universally acknowledged\"\n"
                  "palimpsest generate runs/quickstart --prompt-file book.txt --temperature 0.8 --top-p 0.95 --seed 7\n"
                  "cat book.txt | palimpsest generate runs/quickstart --prompt-file - --max-tokens 500 --quiet"));
  return {command, [options](Communicator& communicator) { return generate_text(*options, communicator); }};
}

}  // namespace palimpsest
