// A trained model read back from a checkpoint, for evaluation, generation and inspection.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/storage.h"
#include "data/text/tokenizer.h"
#include "launch/checkpoint/checkpoint_store.h"
#include "launch/training/components.h"
#include "layers/language_model.h"

namespace palimpsest {

struct SavedModel {
  std::optional<Checkpoint> checkpoint;  // always there
  RunConfig config;                      // resolved
  Progress progress;
  std::int64_t updates = 0;        // of the optimiser; fewer than steps where some were skipped
  std::int64_t carried_lanes = 0;  // whose state is in the checkpoint, in each place that they read in turn
  nlohmann::json cursor;           // position in the data (TokenSource::state)
  Origin origin;                   // who wrote it
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<LanguageModel> model;

  const std::filesystem::path& path() const { return checkpoint->path(); }
};

/// Collective. Reads configuration, state and parameters, these into `pool`, of the checkpoint
/// that a user means by a path: a checkpoint's directory; a run directory, or the configuration file of a
/// run, then its checkpoint of `step`, or for 0 its newest one that is whole; `warn` is told of those passed over, or
/// by default spdlog is. All of its files are verified. Throws FileError when there is none.
SavedModel open_model(const std::filesystem::path& path, std::int64_t step, Communicator& communicator,
                      MemoryPool& pool, CheckpointStore::Warn warn = {});

/// A checkpoint of progress.step among `checkpoints`, for whoever evaluates, generates or exports; as it has no state
/// of an optimizer, no training resumes from it. By one process. Throws WriteError.
void save_model(const std::filesystem::path& checkpoints, const RunConfig& config, LanguageModel& model,
                const Tokenizer& tokenizer, Progress progress, Communicator& communicator);

/// The run directory that a checkpoint lies in; empty when it lies elsewhere.
std::filesystem::path run_directory_of(const Checkpoint& checkpoint);

}  // namespace palimpsest
