// How the elements of a data set have to lie in their file before they are read. HDF5 believes what a file says
// about its chunks: one whose filtered size is not what the layout makes of it has the library read beyond a buffer.
// Only for the .cpp files of this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/io/hdf5_handle.h"
#include "core/shape.h"

namespace palimpsest::hdf5 {

/// Throws FileError unless all `bytes` of a data set lie in this file of `file_bytes`, in one piece or in chunks of
/// moderate size, as they are or with Fletcher32 checksums. Chunks are looked at by `require_sound_chunks`.
void require_plain_storage(hid_t dataset, std::uint64_t bytes, std::uint64_t file_bytes,
                           const std::filesystem::path& path, const std::string& name);

/// Throws FileError unless every chunk that holds some of the rows [begin, end) of the first axis is stored with the
/// size that its layout gives it. Data sets in one piece pass.
void require_sound_chunks(hid_t dataset, const Shape& shape, std::int64_t begin, std::int64_t end,
                          const std::filesystem::path& path, const std::string& name);

}  // namespace palimpsest::hdf5
