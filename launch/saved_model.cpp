#include "launch/saved_model.h"

#include <optional>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/checkpointer.h"
#include "launch/run_directory.h"
#include "launch/run_plan.h"

namespace palimpsest {

namespace fs = std::filesystem;

Checkpoint open_checkpoint(const fs::path& path, Communicator& communicator) {
  std::error_code error;
  if (fs::exists(path / CheckpointManifest::file_name, error)) return Checkpoint::open(path, communicator);
  RunDirectory directory(path);
  if (fs::is_regular_file(path, error)) {
    directory = RunDirectory(load_run_config(path).train.run_directory);
  } else if (!fs::is_directory(path, error)) {
    throw FileError(
        fmt::format("{}: is not there: expected a checkpoint, a run directory or a configuration file", path.string()));
  }
  std::optional<Checkpoint> newest = Checkpointer(directory.checkpoints(), communicator, 0).newest();
  if (!newest) {
    throw FileError(fmt::format("{}: there is no checkpoint (a run directory has them in checkpoints/step-*)",
                                directory.path().string()));
  }
  return std::move(*newest);
}

fs::path run_directory_of(const Checkpoint& checkpoint) {
  const fs::path checkpoints = fs::absolute(checkpoint.path()).lexically_normal().parent_path();
  const RunDirectory directory(checkpoint.path().parent_path().parent_path());
  return checkpoints.filename() == directory.checkpoints().filename() ? directory.path() : fs::path();
}

SavedModel read_model(const Checkpoint& checkpoint, MemoryPool& pool) {
  SavedModel saved;
  saved.path = checkpoint.path();
  saved.config = parse_run_config(checkpoint.config_yaml(), checkpoint.path().string());
  saved.state = training_state_of(checkpoint);
  try {
    saved.tokenizer = saved.state.tokenizer();
  } catch (const Error& error) {
    throw FileError(fmt::format("{}: {}", saved.path.string(), error.what()));
  }
  saved.model =
      std::make_unique<LanguageModel>(pool, saved.config.model.resolved(), compute_type(saved.config.train.precision));
  StateDictionary parameters;
  for (const Parameter& parameter : saved.model->parameters()) parameters.add(parameter.name, parameter.master);
  checkpoint.read_section("parameters", parameters);
  for (Parameter& parameter : saved.model->parameters()) parameter.refresh();
  return saved;
}

}  // namespace palimpsest
