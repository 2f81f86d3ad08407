// Tensors in the safetensors format (core/io/safetensors_header.h), in which models are published: one file, or several
// with an index that says which tensor lies where. Read and written piece by piece: nothing is twice in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/io/descriptor.h"
#include "core/io/safetensors_header.h"
#include "core/io/state_dictionary.h"

namespace palimpsest {

class SafetensorsFile {
 public:
  /// Reads and checks the header. Throws FileError, starting with the path, when the file is not exactly one of this
  /// format.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// The elements of an entry of this file from `first` on (row-major), as many as `target` holds, as float32: exactly
  /// for F32, BF16 and F16, rounded to nearest for F64. Throws FileError on an entry of another type, or fewer
  /// elements.
  void read(const SafetensorsEntry& entry, std::int64_t first, std::span<float> target) const;
  /// All elements of an entry as they lie in the file. Throws FileError unless `target` has as many bytes.
  void read_bytes(const SafetensorsEntry& entry, std::span<std::byte> target) const;

 private:
  std::filesystem::path path_;
  Descriptor file_;
  std::uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

/// The tensors of a model's folder: those of `model.safetensors`, or of the files that `model.safetensors.index.json`
/// names.
class SafetensorsFolder {
 public:
  static constexpr const char* file_name = "model.safetensors";
  static constexpr const char* index_name = "model.safetensors.index.json";

  struct Place {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;

    void read(std::int64_t first, std::span<float> target) const { file->read(*entry, first, target); }
  };

  /// Throws FileError when there is neither or both, on what SafetensorsFile refuses, and when index and files do not
  /// name the same tensors, each once.
  explicit SafetensorsFolder(const std::filesystem::path& folder);

  const std::map<std::string, Place, std::less<>>& tensors() const { return tensors_; }

 private:
  void add(const std::filesystem::path& path);
  void check_index(const std::filesystem::path& index, const std::map<std::string, std::string>& weight_map) const;

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place, std::less<>> tensors_;
};

/// Writes whole tensors of float32 in their order, as F32 or BF16 (`type`), whole or not at all: under a temporary
/// name, forced to disk, then renamed. Throws WriteError.
void write_safetensors(const std::filesystem::path& path, const StateDictionary& tensors, DataType type,
                       const std::map<std::string, std::string>& metadata);

/// Elements as they lie in a file, of a type that it spells like this: "I8".
struct SafetensorsData {
  std::string name, type;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// The same of tensors as they lie. Throws WriteError also where bytes and shape do not go together.
void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsData> tensors,
                       const std::map<std::string, std::string>& metadata);

/// The same as the tensors of a folder, which exists: one file, or with an index as many as it takes for none to have
/// more than `shard_bytes` of data unless it holds a single tensor.
void write_safetensors_folder(const std::filesystem::path& folder, const StateDictionary& tensors, DataType type,
                              const std::map<std::string, std::string>& metadata, std::uint64_t shard_bytes);

}  // namespace palimpsest
