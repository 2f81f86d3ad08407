#include "launch/training/initial_weights.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "launch/training/saved_model.h"
#include "layers/merged_model.h"

namespace palimpsest {

StoredModel open_checkpoint_model(const std::filesystem::path& path, Communicator& communicator, MemoryPool& pool) {
  SavedModel saved = open_model(path, 0, communicator, pool);
  StoredModel stored{.path = saved.path().string(),
                     .config = std::move(saved.config),
                     .tokenizer_identity = saved.tokenizer->identity(),
                     .model = std::move(saved.model),
                     .made_up = {}};
  stored.config.model = stored.config.model.resolved();
  if (stored.config.model.lora.rank > 0) {
    stored.model = merge_lora(*stored.model, pool);
    stored.config.model.lora = {};
  }
  return stored;
}

TakenWeights take_weights(const StoredModel& stored, const RunConfig& config, const std::string& tokenizer_identity,
                          bool allow_unused, ParameterList& parameters) {
  const std::string start = fmt::format("train.initial_weights {}: ", stored.path);
  if (stored.tokenizer_identity != tokenizer_identity) {
    throw ConfigError(fmt::format("{}the model's tokenizer is {}, that of the training data {}", start,
                                  stored.tokenizer_identity, tokenizer_identity));
  }
  std::map<std::string, const Parameter*> left;
  for (const Parameter& parameter : stored.model->parameters()) {
    if (std::ranges::find(stored.made_up, parameter.name) == stored.made_up.end()) left[parameter.name] = &parameter;
  }
  TakenWeights taken;
  std::vector<std::pair<Parameter*, const Parameter*>> pairs;
  std::vector<std::string> misfits;
  for (Parameter& parameter : parameters) {
    const auto found = left.find(parameter.name);
    if (found == left.end()) {
      taken.initialized.push_back(parameter.name);
      continue;
    }
    const Shape &theirs = found->second->master.shape(), &ours = parameter.master.shape();
    if (theirs != ours) {
      misfits.push_back(fmt::format("{} is {}, expected {}", parameter.name, theirs.to_string(), ours.to_string()));
    }
    pairs.emplace_back(&parameter, found->second);
    left.erase(found);
  }
  if (!misfits.empty()) throw ConfigError(fmt::format("{}{}", start, fmt::join(misfits, "; ")));
  if (pairs.empty()) throw ConfigError(start + "has no parameter that the model has");
  for (const auto& [name, parameter] : left) taken.unused.push_back(name);
  if (!left.empty() && !allow_unused) {
    throw ConfigError(fmt::format("{}the model has no place for {}; train.allow_unused_weights true leaves them out",
                                  start, fmt::join(taken.unused, ", ")));
  }
  for (const auto& [to, from] : pairs) {
    copy(from->master, to->master);
    to->refresh();
  }
  taken.differences = differences(stored.config, config, "model");
  return taken;
}

}  // namespace palimpsest
