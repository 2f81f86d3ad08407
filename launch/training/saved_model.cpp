#include "launch/training/saved_model.h"

#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_plan.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

SavedModel read_model(const Checkpoint& checkpoint, Communicator& communicator, MemoryPool& pool) {
  SavedModel saved;
  saved.config = parse_saved_config(checkpoint.config_yaml(), checkpoint.path().string());
  saved.state = training_state_of(checkpoint);
  try {
    saved.tokenizer = saved.state.tokenizer();
  } catch (const Error& error) {
    throw FileError(fmt::format("{}: {}", checkpoint.path().string(), error.what()));
  }
  saved.model = std::make_unique<LanguageModel>(pool, saved.config.model.resolved(),
                                                compute_type(saved.config.train.precision, communicator));
  StateDictionary targets;
  std::vector<std::string> names;
  for (const Parameter& parameter : saved.model->parameters()) {
    targets.add("parameters/" + parameter.name, parameter.master);
    names.push_back(parameter.name);
  }
  checkpoint.require_section("parameters", names);
  checkpoint.load(targets, communicator);
  for (Parameter& parameter : saved.model->parameters()) parameter.refresh();
  return saved;
}

}  // namespace

SavedModel open_model(const fs::path& path, std::int64_t step, Communicator& communicator, MemoryPool& pool) {
  SavedModel saved;
  const auto load = [&](const Checkpoint& checkpoint) { saved = read_model(checkpoint, communicator, pool); };
  std::error_code error;
  if (fs::exists(path / CheckpointManifest::file_name, error)) {
    saved.checkpoint = Checkpoint::open(path, communicator);
    if (step > 0 && step != saved.checkpoint->step()) {
      throw FileError(fmt::format("{}: is the checkpoint of step {}, asked for was step {}", path.string(),
                                  saved.checkpoint->step(), step));
    }
    const Checkpoint checkpoint = *saved.checkpoint;
    load(checkpoint);
    saved.checkpoint = checkpoint;
    return saved;
  }
  RunDirectory directory(path);
  if (fs::is_regular_file(path, error)) {
    directory = RunDirectory(load_run_config(path).train.run_directory);
  } else if (!fs::is_directory(path, error)) {
    throw FileError(
        fmt::format("{}: is not there: expected a checkpoint, a run directory or a configuration file", path.string()));
  }
  const CheckpointStore store(directory.checkpoints());
  std::optional<Checkpoint> found = step > 0 ? store.at(step, communicator, load) : store.newest(communicator, load);
  if (!found) {
    throw FileError(fmt::format("{}: there is no checkpoint (a run directory has them in checkpoints/step-*)",
                                directory.path().string()));
  }
  saved.checkpoint = std::move(found);
  return saved;
}

fs::path run_directory_of(const Checkpoint& checkpoint) {
  const fs::path checkpoints = fs::absolute(checkpoint.path()).lexically_normal().parent_path();
  const RunDirectory directory(checkpoint.path().parent_path().parent_path());
  return checkpoints.filename() == directory.checkpoints().filename() ? directory.path() : fs::path();
}

}  // namespace palimpsest
