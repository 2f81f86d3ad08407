// palimpsest generate: continues a prompt with a trained model.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/generate_batch.h"
#include "launch/commands/generation.h"
#include "launch/commands/measuring.h"
#include "launch/inference/generator_file.h"
#include "launch/output/exit_codes.h"
#include "launch/output/standard_output.h"
#include "launch/training/run_directory.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  GenerationCommand common;
  std::string prompt;
  std::string prompt_file;
  std::string save_state;
  BatchOptions batch;
  bool quiet = false;
};

std::string read_prompt(const Options& options) {
  if (options.prompt_file.empty()) return options.prompt;
  return read_text_input(options.prompt_file);
}

/// How a generation ended, for the last line.
std::string_view ending(Finish finish) {
  switch (finish) {
    case Finish::end: return ", ended by the model";
    case Finish::stop: return ", ended by a stop string";
    case Finish::interrupted:
    case Finish::length: break;
  }
  return "";
}

int generate_text(const Options& options, Communicator& communicator) {
  const GenerationOptions& generation = options.common.generation;
  if (generation.beams > 1 && !options.save_state.empty() && generation.max_tokens > 0) {
    throw ConfigError(
        "--save-state after a search with --beams: a search cannot go on where another ended; --max-tokens 0 keeps "
        "what was read");
  }
  if (!options.batch.prompts.empty()) return generate_many(options.common, options.batch, communicator);
  const std::string prompt = read_prompt(options);
  if (!options.save_state.empty()) require_writable(options.save_state);
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  MemoryPool pool;
  const SavedModel saved = open_for_generation(options.common, communicator, log, pool);
  MemoryPool state_pool;
  Generator generator = make_generator(options.common, saved, state_pool);
  // Only what is to be kept has to end in order.
  std::optional<StopRequest> stop_request;
  if (!options.save_state.empty()) stop_request.emplace();
  const auto goes_on = [&] { return !stop_request || stop_request->signal() == 0; };

  if (!prompt.empty()) {
    write_to_stdout(generator.flush());
    if (!options.quiet) write_to_stdout(prompt);
    generator.append(prompt);
  }
  const std::int64_t prompt_tokens = generator.unread();
  double prompt_seconds = 0;
  bool whole = true;
  {
    ReadingProgress progress(generator, log);
    whole = generator.read([&] {
      progress.show();
      return goes_on();
    });
    prompt_seconds = progress.seconds();
  }
  const std::int64_t unread = generator.unread();
  GenerationResult result{.finish = Finish::interrupted};
  if (whole) result = generator.generate(options.common.generation, write_to_stdout, goes_on);
  if (options.save_state.empty()) {
    write_to_stdout(generator.flush());
  } else {
    save_generator(options.save_state, generator);
  }
  write_to_stdout("\n");
  log.note(fmt::format("{} prompt tokens at {}, {} generated at {}{}", prompt_tokens - unread,
                       format_rate(prompt_tokens - unread, prompt_seconds), result.tokens,
                       format_rate(result.tokens, result.seconds), ending(result.finish)));
  if (!options.save_state.empty()) {
    log.note(fmt::format("State after {} tokens{}: {}", generator.tokens() + generator.unread() - unread,
                         unread > 0 ? fmt::format(", {} of the prompt still to be read", unread) : "",
                         options.save_state));
  }
  if (result.finish != Finish::interrupted) return ExitCode::ok;
  log.note(fmt::format("Stopped by {}", signal_name(stop_request->signal())));
  return ExitCode::signal_base + stop_request->signal();
}

}  // namespace

Command add_generate_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("generate", "Continue a prompt with a trained model");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "Text to continue (default: start a document)");
  command
      ->add_option("--prompt-file", options->prompt_file,
                   "File with the text to continue, 1 GiB at most; - reads standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  add_generation_options(*command, options->common);
  command
      ->add_option("--save-state", options->save_state,
                   "Where all that is remembered goes at the end, or at SIGINT, SIGTERM or SIGUSR1, for --state")
      ->type_name("FILE");
  CLI::Option* batch = add_batch_options(*command, options->batch);
  for (const char* other : {"--prompt", "--prompt-file", "--state", "--save-state"}) {
    batch->excludes(command->get_option(other));
  }
  command->add_flag("--special-tokens", options->common.special_tokens,
                    "A prompt's text that spells a special token of tokenizer.json becomes it");
  command->add_flag("--quiet", options->quiet, "Print only what is generated, not the prompt before it");
  command->footer(
      "The whole prompt, however long, passes through the memory; the text goes to standard output as it comes. The\n"
      "same seed gives the same text. With --state the prompt, if there is one, follows what was read and written\n"
      "before: going on with the same options is the same, bit for bit, as never having stopped.\n"
      "With --batch every prompt is a document of its own; its result is a line of JSON, in the order of the "
      "prompts.\n\n" +
      help_footer("palimpsest generate runs/quickstart --prompt \"It is a truth universally acknowledged\"\n"
                  "palimpsest generate runs/quickstart --prompt-file book.txt --temperature 0.8 --top-p 0.95 --seed 7\n"
                  "cat book.txt | palimpsest generate runs/quickstart --prompt-file - --max-tokens 500 --quiet\n"
                  "palimpsest generate runs/quickstart --prompt-file book.txt --max-tokens 0 --save-state book.state\n"
                  "palimpsest generate runs/quickstart --state book.state --prompt \"Mr. Darcy\"\n"
                  "palimpsest generate runs/quickstart --batch prompts.txt --out results.jsonl --stop . --lanes 16"));
  return {command, [options](Communicator& communicator) {
            require_one_process("generate", communicator);
            return generate_text(*options, communicator);
          }};
}

}  // namespace palimpsest
