// The bytes of a file, or what they become when they are decompressed, one piece after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace palimpsest {

class ByteInput {
 public:
  virtual ~ByteInput() = default;
  /// Fills the target with the next bytes, as far as there are any: 0 at the end of the file. Throws FileError.
  virtual std::size_t read(std::span<char> target) = 0;
  /// How many bytes of the file have been taken for it.
  virtual std::uint64_t consumed() const = 0;
};

/// A regular file from byte `begin` on; decompressed where its name says so (compressed_input.h), from its first byte
/// on. Throws FileError.
std::unique_ptr<ByteInput> open_input(const std::filesystem::path& path, std::uint64_t begin = 0);

}  // namespace palimpsest
