// Writes a run's checkpoints and finds the newest one that is whole. A checkpoint is a directory
// `step-00001234` with one HDF5 file per rank and a manifest; it is built under a temporary name and
// renamed once everything is on disk, so it is there complete or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint.h"

namespace palimpsest {

class Checkpointer {
 public:
  /// `directory` holds the checkpoints of one run; all ranks see the same one, and only one job writes
  /// to it. `keep_last` checkpoints are kept, 0: all.
  Checkpointer(std::filesystem::path directory, Communicator& communicator, std::int64_t keep_last);

  /// Collective. Saves a checkpoint of `step`, replacing one that is there already. `replicated` has the same entries
  /// and values on every rank; each is written by one of them. `owned` is written by this rank: names,
  /// like "memory/lane-00012/layers.3/matrix", are unique over all ranks. Afterwards removes the
  /// checkpoints beyond `keep_last` and what interrupted saves left behind. Throws WriteError, the same
  /// on every rank; the checkpoints that were there are then still there.
  void save(std::int64_t step, const StateDictionary& replicated, const StateDictionary& owned,
            const nlohmann::json& training_state, const std::string& config_yaml);

  /// Collective. The newest checkpoint that is whole; what it passes over is logged as a warning with the reason.
  /// Nothing when there are no checkpoints; FileError when there are some and none is whole.
  std::optional<Checkpoint> newest();

 private:
  std::filesystem::path path_of(std::int64_t step) const;
  /// Steps of the checkpoints that are there, whole or not, ascending.
  std::vector<std::int64_t> steps() const;
  std::vector<std::filesystem::path> leftovers() const;
  std::vector<std::filesystem::path> contents() const;
  void tidy_up(std::int64_t step);

  std::filesystem::path directory_;
  Communicator& communicator_;
  std::int64_t keep_last_;
};

/// Which of `ranks` ranks writes each entry: the largest first, each to the rank with the fewest bytes
/// so far. Depends on the sizes alone.
std::vector<int> assign_entries(const StateDictionary& entries, int ranks);

}  // namespace palimpsest
