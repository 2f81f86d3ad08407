#include "launch/exchange/import_model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/safetensors.h"
#include "core/printable.h"
#include "launch/exchange/model_description.h"
#include "launch/exchange/tensor_names.h"
#include "launch/exchange/tokenizer_files.h"
#include "launch/training/run_directory.h"
#include "launch/training/saved_model.h"
#include "layers/language_model.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// How long segments are unless somebody says so: the paper's length.
constexpr std::int64_t usual_segment = 2048;

/// The configuration of the run that an exported model was of; the shape in config.json has to be its shape.
RunConfig exported_config(const ModelDescription& description, const fs::path& path) {
  RunConfig config;
  try {
    config = parse_saved_config(description.own.at("config").get<std::string>(), path.string());
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: \"palimpsest\" is not as expected: {}", path.string(), printable(error.what())));
  }
  RunConfig stated = config;
  stated.model = description.model;
  stated.model.attention = config.model.attention;
  stated.model.segment_length = config.model.segment_length;
  stated.model.initializer_range = config.model.initializer_range;
  config.model = config.model.resolved();
  if (const auto differing = differences(stated, config, "model"); !differing.empty()) {
    throw FileError(fmt::format("{}: says otherwise than the configuration under its \"palimpsest\": {}", path.string(),
                                fmt::join(differing, "; ")));
  }
  return config;
}

RunConfig configure(const ModelDescription& description, const ImportOptions& options) {
  const fs::path path = options.folder / "config.json";
  RunConfig config;
  if (description.own.is_null()) {
    config.model = description.model;
    config.model.segment_length =
        description.window > 0 ? description.window : std::min(description.context, usual_segment);
  } else {
    config = exported_config(description, path);
  }
  if (!options.destination.empty()) config.train.run_directory = options.destination.string();
  return parse_run_config(to_yaml(config), path.string(), options.overrides);
}

/// The shape of the model that a run of ours exported; none where others wrote the folder.
std::optional<ModelConfig> exported_shape(const ModelDescription& description, const fs::path& path) {
  if (description.own.is_null()) return std::nullopt;
  return exported_config(description, path).model;
}

/// Whether a folder may lack the parameter: what is of a memory, or of LoRA, where others wrote it, and in an export
/// what --set gives to a model that had no such parameter.
bool may_be_new(const Parameter& parameter, const std::optional<ModelConfig>& exported, const ModelConfig& model) {
  if (is_released_parameter(parameter.name)) return false;
  if (!exported || model.attention.kind != exported->attention.kind) return true;
  if (parameter.role == ParameterRole::memory_gain) {
    return model.attention.memory_readout != exported->attention.memory_readout;
  }
  if (parameter.role == ParameterRole::memory_decay) {
    return model.attention.memory_decay != exported->attention.memory_decay;
  }
  return parameter.name.find(".lora_") != std::string::npos && model.lora != exported->lora;
}

/// Throws FileError on a NaN or an infinity: no text has a loss with it.
void require_finite(const SafetensorsFolder::Place& place, std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  if (bad == values.end()) return;
  throw FileError(fmt::format("{}: the tensor '{}' has {} as its element {}, expected finite numbers",
                              place.file->path().string(), place.entry->name, *bad, bad - values.begin()));
}

/// Whether a tied model's files hold the head, too: transformers leaves it aside, which is right if it is the
/// embedding.
bool repeats_embedding(const SafetensorsFolder::Place& head, std::span<const float> embedding) {
  constexpr std::size_t piece = std::size_t{1} << 18;
  std::vector<float> values;
  if (head.entry->shape.elements() != static_cast<std::int64_t>(embedding.size())) return false;
  for (std::size_t begin = 0; begin < embedding.size(); begin += values.size()) {
    values.resize(std::min(piece, embedding.size() - begin));
    head.read(static_cast<std::int64_t>(begin), values);
    if (!std::ranges::equal(values, embedding.subspan(begin, values.size()))) return false;
  }
  return true;
}

/// Reads every parameter that the folder, an export of the shape `exported` if there is one, has; returns the names of
/// those that it has not and need not have.
std::vector<std::string> load(const fs::path& folder, LanguageModel& model,
                              const std::optional<ModelConfig>& exported) {
  const SafetensorsFolder tensors(folder);
  std::vector<std::string> initialized;
  std::set<std::string> used;
  for (Parameter& parameter : model.parameters()) {
    const std::string name = hugging_face_name(parameter.name);
    const auto found = tensors.tensors().find(name);
    if (found == tensors.tensors().end()) {
      if (may_be_new(parameter, exported, model.config())) {
        initialized.push_back(parameter.name);
        continue;
      }
      throw FileError(fmt::format("{}: has no tensor '{}', expected one of shape {}", folder.string(), name,
                                  parameter.master.shape().to_string()));
    }
    const SafetensorsFolder::Place& place = found->second;
    if (place.entry->shape != parameter.master.shape()) {
      throw FileError(fmt::format("{}: the tensor '{}' is {}, expected {}", place.file->path().string(), name,
                                  place.entry->shape.to_string(), parameter.master.shape().to_string()));
    }
    const std::span<float> values = parameter.master.values<float>();
    place.read(0, values);
    require_finite(place, values);
    used.insert(name);
  }
  for (const auto& [name, place] : tensors.tensors()) {
    if (used.contains(name) || is_derived_tensor(name)) continue;
    if (name == "lm_head.weight" && model.config().tie_embeddings &&
        repeats_embedding(place, model.parameters().find("embed_tokens.weight").master.values<float>())) {
      continue;
    }
    throw FileError(fmt::format("{}: has a tensor '{}' {} for which the model has no place",
                                place.file->path().string(), printable(name), place.entry->shape.to_string()));
  }
  return initialized;
}

/// What a user should know of the model; `exported` as for load.
std::vector<std::string> notes_of(const ModelDescription& description, const std::optional<ModelConfig>& exported,
                                  const ModelConfig& model, const Tokenizer& tokenizer) {
  std::vector<std::string> notes;
  if (!description.ignored.empty()) {
    notes.push_back(
        fmt::format("config.json has keys that are not looked at: {}", fmt::join(description.ignored, ", ")));
  }
  // What a model was trained with, it computes as it did.
  const AttentionConfig& attention = model.attention;
  const bool same_kind = exported && exported->attention.kind == attention.kind;
  if (attention.kind == AttentionKind::infini && attention.empty_memory == EmptyMemory::gated &&
      !(same_kind && exported->attention.empty_memory == EmptyMemory::gated)) {
    notes.push_back("with model.attention.empty_memory gated the model does not compute what it did within a segment");
  }
  if ((attention.kind == AttentionKind::recurrent_memory || attention.overlap > 0) &&
      !(same_kind && exported->attention.overlap == attention.overlap)) {
    notes.push_back(
        "with model.attention.kind recurrent_memory, or an overlap, the model does not compute what it did beyond a "
        "segment's own tokens");
  }
  const auto differs = [](const std::optional<std::int64_t>& stated, std::int64_t id) {
    return stated && *stated != id;
  };
  if (differs(description.begin_id, tokenizer.begin_id()) || differs(description.end_id, tokenizer.end_id())) {
    notes.push_back(fmt::format(
        "documents begin with token {} and end with {}, as the tokenizer has it; config.json "
        "says {} and {}",
        tokenizer.begin_id(), tokenizer.end_id(), description.begin_id.value_or(-1), description.end_id.value_or(-1)));
  }
  return notes;
}

}  // namespace

ReleasedModel read_released_model(const ImportOptions& options, MemoryPool& pool) {
  const ModelDescription description = read_model_description(options.folder / "config.json");
  ReleasedModel released;
  released.config = configure(description, options);
  released.context = description.context;
  released.tokenizer =
      options.tokenizer.empty() ? read_tokenizer(options.folder, description.own) : make_tokenizer(options.tokenizer);
  if (released.tokenizer->vocab_size() > released.config.model.vocab_size) {
    throw DataError(fmt::format("{}: the tokenizer has {} tokens, the model only {}", options.folder.string(),
                                released.tokenizer->vocab_size(), released.config.model.vocab_size));
  }
  released.model = std::make_unique<LanguageModel>(pool, released.config.model.resolved(), DataType::float32);
  released.model->initialize(released.config.train.seed);
  const std::optional<ModelConfig> exported = exported_shape(description, options.folder / "config.json");
  released.initialized = load(options.folder, *released.model, exported);
  released.notes = notes_of(description, exported, released.config.model, *released.tokenizer);
  return released;
}

ImportResult import_model(const ImportOptions& options, Communicator& communicator) {
  const bool alone = checkpoint_step(options.destination.filename().string()) == 0;
  std::error_code error;
  if (fs::exists(fs::symlink_status(options.destination, error))) {
    throw WriteError(fmt::format("{}: exists already", options.destination.string()));
  }
  MemoryPool pool;
  ReleasedModel released = read_released_model(options, pool);
  const RunConfig& config = released.config;
  LanguageModel& model = *released.model;
  ImportResult result;
  result.initialized = std::move(released.initialized);
  result.notes = std::move(released.notes);
  result.parameters = model.parameters().elements();
  if (alone) {
    save_model(options.destination.parent_path(), config, model, *released.tokenizer, {}, communicator);
    result.checkpoint = options.destination;
    return result;
  }
  AtomicDirectory building(options.destination);
  const RunDirectory run(building.temporary());
  save_model(run.checkpoints(), config, model, *released.tokenizer, {}, communicator);
  write_result(run.config(), to_yaml(config));
  write_tokenizer(run.path(), *released.tokenizer, released.context);
  building.commit();
  result.checkpoint = RunDirectory(options.destination).checkpoints() / checkpoint_directory_name(0);
  return result;
}

}  // namespace palimpsest
