// A complete checkpoint, opened for reading. Ranks, hosts and lanes may be others than those that wrote
// it: entries are found by name, wherever they lie.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/comm/communicator.h"
#include "core/io/hdf5_file.h"
#include "core/io/state_dictionary.h"
#include "launch/checkpoint_manifest.h"

namespace palimpsest {

class Checkpoint {
 public:
  /// Collective. Opens the checkpoint in `directory` after comparing the size and hash of every file
  /// with the manifest, the files shared out over the ranks. Throws FileError, the same on every rank,
  /// when it is damaged or incomplete.
  static Checkpoint open(const std::filesystem::path& directory, Communicator& communicator);

  const std::filesystem::path& path() const { return directory_; }
  std::int64_t step() const { return manifest_.step; }
  /// What the trainer stored beside the tensors.
  const nlohmann::json& training_state() const { return manifest_.training_state; }
  const std::vector<CheckpointManifest::File>& files() const { return manifest_.files; }
  /// The resolved configuration of the run.
  const std::string& config_yaml() const { return manifest_.config_yaml; }

  /// Every entry, sorted by name.
  std::vector<CheckpointManifest::Entry> entries() const;
  bool contains(const std::string& name) const { return locations_.contains(name); }

  // Reading is not collective: each rank reads what it needs. Where ranks go on together afterwards, wrap
  // it in `agree` (core/comm/agreement.h).

  /// Reads one entry into a tensor of exactly its shape and type. Throws FileError, naming the
  /// checkpoint and the entry, on a mismatch or when there is no such entry.
  void read(const std::string& name, Tensor& target) const;
  /// Reads every entry below "section/" into the target of that name. Throws FileError when there is an
  /// entry without a target, or a target without an entry.
  void read_section(const std::string& section, const StateDictionary& targets) const;

 private:
  struct Location {
    std::size_t file;
    CheckpointManifest::Entry entry;
  };

  Checkpoint(std::filesystem::path directory, CheckpointManifest manifest);
  const Location& locate(const std::string& name) const;

  std::filesystem::path directory_;
  CheckpointManifest manifest_;
  std::map<std::string, Location> locations_;
};

}  // namespace palimpsest
