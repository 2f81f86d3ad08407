#include "launch/exchange/export_model.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/json_file.h"
#include "core/io/safetensors.h"
#include "core/printable.h"
#include "launch/exchange/model_card.h"
#include "launch/exchange/model_description.h"
#include "launch/exchange/tensor_names.h"
#include "launch/exchange/tokenizer_files.h"
#include "layers/merged_model.h"
#include "optim/parameter_patterns.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// The configuration as strangers may see it: of paths nothing but the files' names.
RunConfig published(RunConfig config) {
  for (std::string* path :
       {&config.data.train, &config.data.validation, &config.data.test, &config.data.passkey.filler,
        &config.data.passkey.tokenizer, &config.data.queries.corpus, &config.data.queries.tokenizer}) {
    *path = fs::path(*path).filename().string();
  }
  for (EvaluationSet& set : config.evaluation.sets) set.file = fs::path(set.file).filename().string();
  for (MixtureEntry& entry : config.data.mixture) {
    for (std::string* path : {&entry.file, &entry.passkey.filler, &entry.passkey.tokenizer}) {
      *path = fs::path(*path).filename().string();
    }
  }
  config.train.run_directory = TrainConfig().run_directory;
  for (std::string* path : {&config.train.initial_weights, &config.distillation.teacher}) {
    const fs::path folder(*path);
    *path = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  }
  return config;
}

/// The configuration of a model whose low-rank changes are merged: nothing in it names their parameters.
RunConfig without_lora(RunConfig config, const ParameterList& merged) {
  config.model.lora = {};
  const auto means_none = [&](const std::string& pattern) {
    return std::ranges::none_of(merged,
                                [&](const Parameter& parameter) { return means_parameter(pattern, parameter.name); });
  };
  std::erase_if(config.train.trainable, means_none);
  std::erase_if(config.optimizer.learning_rate_multipliers,
                [&](const LearningRateMultiplier& multiplier) { return means_none(multiplier.parameters); });
  return config;
}

bool is_identifier(const std::string& text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == '+';
  });
}

/// Replacing a folder removes what is in it: it has to be an export.
void require_export(const fs::path& folder) {
  try {
    const fs::path path = folder / "config.json";
    if (parse_json(read_text_file(path), path.string()).contains("palimpsest")) return;
  } catch (const FileError&) {
  }
  throw WriteError(fmt::format("{}: is no export of this program, and not replaced", folder.string()));
}

StateDictionary tensors_of(const ParameterList& parameters) {
  StateDictionary tensors;
  for (const Parameter& parameter : parameters) tensors.add(hugging_face_name(parameter.name), parameter.master);
  return tensors;
}

}  // namespace

std::int64_t export_model(const SavedModel& saved, const ExportOptions& options) {
  if (!is_identifier(options.licence)) {
    throw ConfigError(fmt::format("--licence '{}': expected an identifier such as apache-2.0, mit or other",
                                  printable(options.licence)));
  }
  std::error_code error;
  const bool exists = fs::exists(fs::symlink_status(options.folder, error));
  if (exists && !options.force) {
    throw WriteError(fmt::format("{}: exists already; --force replaces an earlier export", options.folder.string()));
  }
  if (exists) require_export(options.folder);

  MemoryPool pool;
  const std::unique_ptr<LanguageModel> merged =
      saved.config.model.lora.rank > 0 ? merge_lora(*saved.model, pool) : nullptr;
  const LanguageModel& model = merged ? *merged : *saved.model;
  const RunConfig of_model = merged ? without_lora(saved.config, model.parameters()) : saved.config;
  const RunConfig config = published(of_model);
  const Tokenizer& tokenizer = *saved.tokenizer;
  const nlohmann::ordered_json description =
      describe_model(of_model, tokenizer.begin_id(), tokenizer.end_id(), std::string(name_of(options.type)),
                     {{"config", to_yaml(config)}, {"tokenizer", describe_tokenizer(tokenizer)}});
  AtomicDirectory building(options.folder, AtomicDirectory::Existing::replace);
  const fs::path& folder = building.temporary();
  write_safetensors_folder(folder, tensors_of(model.parameters()), options.type, {{"format", "pt"}},
                           options.shard_bytes);
  write_tokenizer(folder, tokenizer, description.at("max_position_embeddings").get<std::int64_t>());
  const auto write = [&](const char* name, const std::string& text) { write_file_atomically(folder / name, text); };
  const nlohmann::ordered_json generation = {{"bos_token_id", tokenizer.begin_id()},
                                             {"eos_token_id", tokenizer.end_id()}};
  write("generation_config.json", generation.dump(2) + '\n');
  write("README.md", model_card(saved, config, options.folder.filename().string(), options.licence));
  write("config.json", description.dump(2) + '\n');
  building.commit();
  return model.parameters().elements();
}

}  // namespace palimpsest
