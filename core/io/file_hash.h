// Hashes by which a file is known to be whole: XXH3 of 128 bits (xxHash), as 32 hexadecimal digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace palimpsest {

/// The hash of bytes that arrive piece by piece. The pieces' borders do not matter.
class FileHash {
 public:
  FileHash();
  ~FileHash();
  FileHash(FileHash&&) noexcept;
  FileHash& operator=(FileHash&&) noexcept;

  void update(std::span<const std::byte> bytes);
  /// The hash of everything so far.
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct FileFingerprint {
  std::uint64_t bytes = 0;
  std::string hash;

  bool operator==(const FileFingerprint&) const = default;
};

/// Size and hash of a regular file, read in pieces. Throws FileError.
FileFingerprint fingerprint_file(const std::filesystem::path& path);
/// Only the hash. Throws FileError.
std::string hash_file(const std::filesystem::path& path);

}  // namespace palimpsest
