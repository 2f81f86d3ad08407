#include "launch/training/saved_model.h"

#include <functional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/matmul.h"
#include "core/sequence_layout.h"
#include "data/stream/segment_stream.h"
#include "launch/checkpoint/checkpointer.h"
#include "launch/checkpoint/components.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_plan.h"
#include "launch/training/state_fields.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// Looks at the state of a component that need not be there itself.
class Reader final : public Stateful {
 public:
  using Read = std::function<void(const nlohmann::json&)>;

  Reader(std::string name, Read read) : name_(std::move(name)), read_(std::move(read)) {}
  std::string name() const override { return name_; }
  bool exact() const override { return false; }
  void restore(const nlohmann::json& state) override { read_(state); }

 private:
  std::string name_;
  Read read_;
};

SavedModel read_model(const Checkpoint& checkpoint, Communicator& communicator, MemoryPool& pool) {
  SavedModel saved;
  saved.config = parse_saved_config(checkpoint.config_yaml(), checkpoint.path().string());
  saved.model = std::make_unique<LanguageModel>(pool, saved.config.model.resolved(),
                                                compute_type(saved.config.train.precision, communicator));
  TokenizerRecord tokenizer;
  Components components;
  components.push_back(std::make_unique<ParametersComponent>(saved.model->parameters()));
  components.push_back(std::make_unique<TokenizerComponent>(tokenizer));
  components.push_back(std::make_unique<ProgressComponent>(saved.progress));
  components.push_back(std::make_unique<OriginComponent>(Origin{}, saved.origin));
  const auto read = [&](const char* name, Reader::Read look) {
    components.push_back(std::make_unique<Reader>(name, std::move(look)));
  };
  read("optimizer", [&](const nlohmann::json& state) { saved.updates = whole_number(state, "step"); });
  read("cursor", [&](const nlohmann::json& state) { saved.cursor = state; });
  read("state", [&](const nlohmann::json& state) {
    saved.carried_lanes = static_cast<std::int64_t>(whole_numbers(state, "documents", no_document).size());
  });
  restore(checkpoint, components, communicator);
  try {
    saved.tokenizer = tokenizer.tokenizer();
  } catch (const Error& error) {
    throw FileError(fmt::format("{}: {}", checkpoint.path().string(), error.what()));
  }
  return saved;
}

}  // namespace

SavedModel open_model(const fs::path& path, std::int64_t step, Communicator& communicator, MemoryPool& pool,
                      CheckpointStore::Warn warn) {
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
  const CheckpointStore store(directory.checkpoints(), {}, std::move(warn));
  std::optional<Checkpoint> found = step > 0 ? store.at(step, communicator, load) : store.newest(communicator, load);
  if (!found) {
    throw FileError(fmt::format("{}: there is no checkpoint (a run directory has them in checkpoints/step-*)",
                                directory.path().string()));
  }
  saved.checkpoint = std::move(found);
  return saved;
}

void save_model(const fs::path& checkpoints, const RunConfig& config, LanguageModel& model, const Tokenizer& tokenizer,
                Progress progress, Communicator& communicator) {
  TokenizerRecord record{tokenizer.identity(), std::string(tokenizer.model())};
  Origin unread;
  Components components;
  components.push_back(std::make_unique<ProgressComponent>(progress));
  components.push_back(std::make_unique<ParametersComponent>(model.parameters()));
  components.push_back(std::make_unique<TokenizerComponent>(record));
  components.push_back(std::make_unique<OriginComponent>(Origin{1, 1, instruction_set()}, unread));
  nlohmann::json state = state_of(components);
  state["optimizer"] = {{"step", progress.step - progress.skipped_steps}};
  state["state"] = {{"documents", nlohmann::json::array()}, {"tokens", nlohmann::json::array()}};
  state["cursor"] = to_json(StreamCursor{});
  Checkpointer(CheckpointStore(checkpoints), communicator, /*asynchronous=*/false)
      .save(progress.step, tensors_of(components).replicated, {}, state, to_yaml(config));
}

fs::path run_directory_of(const Checkpoint& checkpoint) {
  const fs::path checkpoints = fs::absolute(checkpoint.path()).lexically_normal().parent_path();
  const RunDirectory directory(checkpoint.path().parent_path().parent_path());
  return checkpoints.filename() == directory.checkpoints().filename() ? directory.path() : fs::path();
}

}  // namespace palimpsest
