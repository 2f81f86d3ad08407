// Files that gzip or zstd have compressed, read as a stream: what is held of them does not grow with what they become.
#pragma once

#include <filesystem>
#include <memory>

#include "data/text/byte_input.h"

namespace palimpsest {

enum class Compression { none, gzip, zstd };

/// By the name's ending: .gz, .zst.
Compression compression_of(const std::filesystem::path& path);

/// What `compressed` (not none) becomes, all members or frames of it. Reading throws FileError, which names `path` and
/// the byte of the compressed file, where it is damaged or ends too early.
std::unique_ptr<ByteInput> decompress(std::unique_ptr<ByteInput> compressed, Compression compression,
                                      const std::filesystem::path& path);

}  // namespace palimpsest
