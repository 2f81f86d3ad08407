// A trained model read back from a checkpoint, for evaluation, generation and inspection.
#pragma once

#include <filesystem>
#include <memory>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/storage.h"
#include "data/tokenizer.h"
#include "launch/checkpoint.h"
#include "launch/training_state.h"
#include "layers/language_model.h"

namespace palimpsest {

struct SavedModel {
  std::filesystem::path path;  // of the checkpoint
  RunConfig config;            // resolved
  TrainingState state;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<LanguageModel> model;
};

/// Collective. Opens the checkpoint that a user means by a path: a checkpoint's directory, a run
/// directory (its newest whole checkpoint) or a configuration file (that of its run directory). Throws
/// FileError when there is none.
Checkpoint open_checkpoint(const std::filesystem::path& path, Communicator& communicator);

/// The run directory that a checkpoint lies in; empty when it lies elsewhere.
std::filesystem::path run_directory_of(const Checkpoint& checkpoint);

/// Reads configuration, training state and parameters, these into `pool`. Throws FileError.
SavedModel read_model(const Checkpoint& checkpoint, MemoryPool& pool);

}  // namespace palimpsest
