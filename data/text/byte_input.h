// The bytes of a file, one piece after the other.
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
};

/// A regular file from byte `begin` on. Throws FileError.
std::unique_ptr<ByteInput> open_input(const std::filesystem::path& path, std::uint64_t begin = 0);

}  // namespace palimpsest
