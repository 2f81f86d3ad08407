// palimpsest import: a released model becomes a run with a checkpoint.
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/exchange/import_model.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace {

int import(ImportOptions options, Communicator& communicator) {
  options.destination = without_trailing_slash(options.destination);
  if (communicator.size() > 1) throw ConfigError("import runs in one process: start it without mpirun");
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  const ImportResult result = import_model(options, communicator);
  for (const std::string& note : result.notes) log.warn(note);
  fmt::print("{}: {} parameters", result.checkpoint.string(), result.parameters);
  if (!result.initialized.empty()) {
    fmt::print(", {} of them new: {}{}", format_plural(result.initialized.size(), "tensor"), result.initialized.front(),
               result.initialized.size() > 1 ? " ..." : "");
  }
  fmt::print("\n");
  return ExitCode::ok;
}

}  // namespace

Command add_import_command(CLI::App& program) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* command = program.add_subcommand(
      "import", "Make a run of a released model: a Hugging Face folder with config.json and safetensors");
  command
      ->add_option("FOLDER", options->folder,
                   "The model's folder: Llama, Mistral, Qwen2 or Qwen3, or one that export wrote")
      ->required();
  command
      ->add_option("RUN", options->destination,
                   "The run directory to create, or the path of a checkpoint alone, .../step-00000000")
      ->required();
  command->add_option("--set", options->overrides, "Values of the run's configuration: section.key=value ...")
      ->type_name("KEY=VALUE");
  command->add_option(
      "--tokenizer", options->tokenizer,
      "Instead of the folder's tokenizer: \"bytes\", \"passkey\", a SentencePiece model or a tokenizer.json");
  command->footer(
      "The model computes what it did, within one segment; beyond, its memory begins to count, which it has yet to\n"
      "learn. model.segment_length is the sliding_window where there is one, or the model's context up to 2048\n"
      "tokens, unless --set says otherwise. Whatever this program would compute differently is refused.\n\n" +
      help_footer("palimpsest import models/Llama-2-7b runs/llama\n"
                  "palimpsest import models/Mistral-7B runs/mistral --set model.segment_length=2048\n"
                  "palimpsest generate runs/llama --prompt \"Call me\""));
  return {command, [options](Communicator& communicator) { return import(*options, communicator); }};
}

}  // namespace palimpsest
