// manifest.json of a checkpoint: which files make it up, what each holds, and the state of the run
// that is not tensors (docs/file-formats.md, "Checkpoints").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/io/tensor_file.h"

namespace palimpsest {

struct CheckpointManifest {
  static constexpr std::string_view file_name = "manifest.json";
  /// The hash of manifest.json itself, in the format of `xxhsum -H2`.
  static constexpr std::string_view hash_file_name = "manifest.json.xxh128";

  /// Larger ones are neither written nor read.
  static constexpr std::size_t max_bytes = std::size_t{64} << 20;

  struct File {
    std::string name;
    FileFingerprint fingerprint;
    std::vector<StoredSlice> slices;
  };

  std::int64_t step = 0;
  std::vector<File> files;  // one per rank that wrote, in rank order
  nlohmann::json training_state;
  std::string config_yaml;

  /// Throws WriteError when it would have more than `max_bytes`.
  std::string to_text() const;
  /// What hash_file_name holds for a manifest's text.
  static std::string hash_line(const std::string& text);
  /// Reads version 2 as well, and names everything as this version does. Throws FileError, starting with `path`, on
  /// text that is not a manifest of either.
  static CheckpointManifest from_text(const std::string& text, const std::filesystem::path& path);

  /// What one rank wrote, for the rank that writes the manifest.
  static nlohmann::json file_to_json(const File& file);
  static File file_from_json(const nlohmann::json& json);
};

/// Where the elements of one entry lie.
struct CheckpointEntry {
  struct Piece {
    std::size_t file;  // of the manifest
    StoredSlice slice;
  };

  Shape shape;
  DataType type = DataType::float32;
  std::vector<Piece> pieces;  // in the order of their elements, without holes
};

/// Every entry by name. Throws FileError, starting with `path`, when the slices of one do not make up its
/// whole, each element once.
std::map<std::string, CheckpointEntry> entries_of(const CheckpointManifest& manifest,
                                                  const std::filesystem::path& path);

/// The name of the file that a rank writes: "state-00003.h5".
std::string checkpoint_file_name(int rank);
/// The name of a checkpoint's directory: "step-00001234".
std::string checkpoint_directory_name(std::int64_t step);
/// The step of such a name; -1 for any other.
std::int64_t checkpoint_step(std::string_view directory_name);

}  // namespace palimpsest
