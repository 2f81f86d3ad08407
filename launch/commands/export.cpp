// palimpsest export: a checkpoint as a folder for Hugging Face's tools.
#include <cmath>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/exchange/export_model.h"
#include "launch/output/exit_codes.h"
#include "launch/training/saved_model.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model;
  std::int64_t step = 0;  // 0: the newest
  std::string type = "float32";
  double shard_gigabytes = 5;
  ExportOptions exported;
};

int export_checkpoint(const Options& options, Communicator& communicator) {
  if (communicator.size() > 1) throw ConfigError("export runs in one process: start it without mpirun");
  ExportOptions exported = options.exported;
  exported.folder = without_trailing_slash(exported.folder);
  exported.type = options.type == "bfloat16" ? DataType::bfloat16 : DataType::float32;
  exported.shard_bytes = static_cast<std::uint64_t>(std::llround(options.shard_gigabytes * 1e9));
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  const std::int64_t parameters = export_model(saved, exported);
  fmt::print("{}: {} parameters of {} in {}\n", exported.folder.string(), parameters, saved.path().string(),
             options.type);
  return ExitCode::ok;
}

}  // namespace

Command add_export_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      program.add_subcommand("export", "Write a checkpoint as a Hugging Face folder, and a model card with it");
  add_model_options(*command, options->model, options->step);
  command->add_option("FOLDER", options->exported.folder, "The folder to create")->required();
  command
      ->add_option("--type", options->type, "Of all tensors: float32 (the default), which loses nothing, or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  command
      ->add_option("--shard-size", options->shard_gigabytes,
                   "Gigabytes of a safetensors file, beyond which there are several (default: 5)")
      ->check(CLI::Range(1e-6, 1e6))
      ->type_name("GB");
  command
      ->add_option("--licence", options->exported.licence, "For the model card, as Hugging Face names it: apache-2.0")
      ->type_name("ID");
  command->add_flag("--force", options->exported.force, "Replace an earlier export");
  command->footer(
      "transformers loads the folder as a Llama or Qwen that reads one segment; what the memory needs lies under\n"
      "names that it leaves aside with a warning. palimpsest import makes the same model of it again, in float32 bit "
      "for bit.\n\n" +
      help_footer("palimpsest export runs/quickstart hub/quickstart --licence mit\n"
                  "palimpsest export runs/quickstart hub/quickstart-400 --step 400 --type bfloat16"));
  return {command, [options](Communicator& communicator) { return export_checkpoint(*options, communicator); }};
}

}  // namespace palimpsest
