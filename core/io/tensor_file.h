// Tensors, or shares of tensors, in an HDF5 file that is written and read in one pass from its first
// byte to its last, hashing on the way. Every element lies in one piece, whose place and hash the writer
// reports; so a reader needs no look into a file that it has not verified yet, and reads each byte once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/io/file_hash.h"
#include "core/io/state_dictionary.h"
#include "core/shape.h"

namespace palimpsest {

/// Elements [begin, end) of a tensor, as a file holds them.
struct StoredSlice {
  std::string name;
  Shape shape;  // of the whole tensor
  DataType type = DataType::float32;
  std::int64_t begin = 0, end = 0;
  std::uint64_t offset = 0;  // of the first element in the file, in bytes
  std::string hash;          // of the elements, as `hash_file` would give it

  std::uint64_t bytes() const { return static_cast<std::uint64_t>(end - begin) * size_of(type); }
};

struct TensorFile {
  FileFingerprint fingerprint;
  std::vector<StoredSlice> slices;
};

/// Writes a new file and forces it to disk. An entry is the data set of its name, one-dimensional where it is
/// a share of a tensor; its attribute `xxh128` is the hash of its elements. The same entries give the same bytes.
/// Throws WriteError, on names that exclude each other too ("a" and "a/b").
TensorFile write_tensor_file(const std::filesystem::path& path, const StateDictionary& entries);

/// Where bytes of a file are wanted.
struct Destination {
  std::uint64_t offset;
  std::span<std::byte> target;
};

/// Reads a whole file once and puts the bytes wanted into their places; these may not overlap in the file. Throws
/// FileError when the file does not have this size and hash: what lies in the targets is then of no use.
void read_verified(const std::filesystem::path& path, const FileFingerprint& expected,
                   std::vector<Destination> destinations);

/// The names of the slices whose bytes in the file no longer have their hash.
std::vector<std::string> damaged_slices(const std::filesystem::path& path, const std::vector<StoredSlice>& slices);

}  // namespace palimpsest
