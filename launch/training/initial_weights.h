// The weights that a run begins with, when they are not drawn at random: those of another model
// (train.initial_weights).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/storage.h"
#include "layers/language_model.h"

namespace palimpsest {

/// A model as it was stored.
struct StoredModel {
  std::string path;  // for people
  RunConfig config;  // its `model` section counts, resolved
  std::string tokenizer_identity;
  std::unique_ptr<LanguageModel> model;
  std::vector<std::string> made_up;  // parameters that it has by its configuration, and that were not stored
};

/// Opens the model that a user means by a path, its parameters in the pool. Collective. Throws FileError when there is
/// none.
using OpenStoredModel =
    std::function<StoredModel(const std::filesystem::path& path, Communicator& communicator, MemoryPool& pool)>;

/// Of a checkpoint, a run directory or a run's configuration file, as launch/training/saved_model.h has it. LoRA is
/// merged into the weights.
StoredModel open_checkpoint_model(const std::filesystem::path& path, Communicator& communicator, MemoryPool& pool);

/// What came of it.
struct TakenWeights {
  std::vector<std::string> initialized;  // parameters that were not stored: they are as they were
  std::vector<std::string> unused;       // stored, and without a place in the model
  std::vector<std::string> differences;  // of the two models' configurations
};

/// Copies every stored parameter to that of the same name. Throws ConfigError, naming the parameters, when shapes
/// differ, when some are left over and `allow_unused` is false, or when nothing has a name in common; and when the
/// model was stored with another tokenizer than `tokenizer_identity`.
TakenWeights take_weights(const StoredModel& stored, const RunConfig& config, const std::string& tokenizer_identity,
                          bool allow_unused, ParameterList& parameters);

}  // namespace palimpsest
