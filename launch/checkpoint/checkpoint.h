// A checkpoint that is there to be read. Ranks, hosts and lanes may be others than those that wrote it:
// elements are found by name and number, wherever they lie.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/comm/communicator.h"
#include "core/io/state_dictionary.h"
#include "launch/checkpoint/checkpoint_manifest.h"

namespace palimpsest {

class Checkpoint {
 public:
  /// Collective. Reads the manifest in `directory`, verified by its own hash, and nothing else yet. Throws
  /// FileError, the same on every rank, when it is damaged, or describes something incomplete.
  static Checkpoint open(const std::filesystem::path& directory, Communicator& communicator);

  const std::filesystem::path& path() const { return directory_; }
  std::int64_t step() const { return manifest_.step; }
  /// What the trainer stored beside the tensors.
  const nlohmann::json& training_state() const { return manifest_.training_state; }
  const std::vector<CheckpointManifest::File>& files() const { return manifest_.files; }
  /// The resolved configuration of the run.
  const std::string& config_yaml() const { return manifest_.config_yaml; }
  const std::map<std::string, CheckpointEntry>& entries() const { return entries_; }

  /// Throws FileError when there is an entry below "section/" that `names` does not hold (it has them without the
  /// section), or one of these has no entry.
  void require_section(const std::string& section, const std::vector<std::string>& names) const;

  /// Collective. Reads what `targets` of this rank name, whole tensors or shares of them, and verifies
  /// every file by size and hash, reading it once: each rank the files that it needs, and its part of
  /// those that nobody needs. Throws FileError, the same on every rank, on a target whose shape or type
  /// is another one and on damage. Only when it has returned may the targets be used.
  void load(const StateDictionary& targets, Communicator& communicator) const;
  /// Collective. Verifies every file.
  void verify(Communicator& communicator) const { load({}, communicator); }

 private:
  Checkpoint(std::filesystem::path directory, CheckpointManifest manifest);

  /// For every file, where its bytes go.
  std::vector<std::vector<Destination>> destinations(const StateDictionary& targets) const;
  void read_file(std::size_t index, std::vector<Destination> destinations) const;

  std::filesystem::path directory_;
  CheckpointManifest manifest_;
  std::map<std::string, CheckpointEntry> entries_;
};

}  // namespace palimpsest
