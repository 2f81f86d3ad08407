// Writes a run's checkpoints while training goes on. A checkpoint is a directory `step-00001234` with one
// HDF5 file per rank and a manifest; it is built under a temporary name and renamed once everything is on
// disk, so it is there complete or not at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io/atomic_directory.h"
#include "core/storage.h"
#include "launch/checkpoint/background_task.h"
#include "launch/checkpoint/checkpoint_store.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

/// A save goes through two stages, each of which is work for a thread in the background: every rank writes
/// its file; then rank 0 writes the manifest, renames the directory and removes what is no longer kept. Ranks
/// speak with each other only inside the functions below, never in the background.
class Checkpointer {
 public:
  /// How a save ended, the same on every rank but for `warnings`.
  struct Outcome {
    std::int64_t step = 0;
    std::optional<std::string> error;   // why there is no new checkpoint; the earlier ones are as they were
    std::vector<std::string> warnings;  // on rank 0: what could not be tidied up
    double seconds_waited = 0;          // inside `start`, on this rank
    double seconds = 0;                 // these, and those of this rank's work in the background
  };

  /// Told, by the thread that calls, whether it goes on with this rank's own work or waits for other ranks.
  using Enter = std::function<void(Phase)>;

  /// All ranks see the same directory, and only one job writes to it.
  Checkpointer(
      CheckpointStore store, Communicator& communicator, bool asynchronous, Enter enter = [](Phase) {});
  /// Waits for the work in the background. A save that needed more than that stays unfinished.
  ~Checkpointer();

  const CheckpointStore& store() const { return store_; }
  bool asynchronous() const { return asynchronous_; }
  bool busy() const { return save_ != nullptr; }

  /// Takes the memory for the copies of so many bytes, in the background: the first save would wait for it.
  void prepare(std::uint64_t bytes);
  /// Collective, when not busy. Begins to save a checkpoint of `step`, replacing one that is there already.
  /// `replicated` has the same entries and values on every rank, whole tensors; the ranks share their bytes so
  /// that their files become equally large. `owned` is what this rank alone has: whole tensors or shares,
  /// every element from one rank. Asynchronous: the tensors are copied, and free again when this returns.
  /// Otherwise they are not to be changed before `finish`. Failures come from `poll` and `finish`.
  void start(std::int64_t step, const StateDictionary& replicated, const StateDictionary& owned,
             const nlohmann::json& training_state, const std::string& config_yaml);
  /// Collective, at the boundary of two steps: moves the save on without waiting. How it ended, once it has.
  std::optional<Outcome> poll();
  /// Collective. Waits until the save is durable or has failed; nothing when there is none.
  std::optional<Outcome> finish();

  /// Collective. `start` and `finish`; throws WriteError when the save failed.
  Outcome save(std::int64_t step, const StateDictionary& replicated, const StateDictionary& owned,
               const nlohmann::json& training_state, const std::string& config_yaml);

 private:
  using Clock = std::chrono::steady_clock;
  /// The save under way.
  struct Save;

  void write_file();
  std::vector<std::string> gather_descriptions();
  void publish(const std::vector<std::string>& descriptions);
  /// The work of this stage is done everywhere: what comes of it.
  std::optional<Outcome> advance();
  Outcome end(std::optional<std::string> error);

  CheckpointStore store_;
  Communicator& communicator_;
  bool asynchronous_;
  Enter enter_;
  MemoryPool copies_;  // what was copied once leaves its room to the next save
  std::optional<BackgroundTask> preparation_;
  std::unique_ptr<Save> save_;
};

/// The part of `replicated` that `rank` writes when the ranks have `owned_bytes` each to write besides: a run of
/// its elements in the order of the entries, such that the largest total is as small as can be.
StateDictionary share_of(const StateDictionary& replicated, const std::vector<std::uint64_t>& owned_bytes, int rank);

}  // namespace palimpsest
