// What an index holds, for people and programs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "launch/search/memory_index.h"

namespace palimpsest {

/// Whether a path is that of an index, perhaps a damaged one, rather than of a checkpoint, a run or a token file: by
/// the format that its index.json says. Throws FileError when that cannot be read.
bool is_index(const std::filesystem::path& path);

/// "66.6 kB a document in int8", of documents whose memories take so many bytes together.
std::string describe_memory_size(std::uint64_t bytes, std::int64_t documents, MemoryType type);

/// The index in a folder: its model, documents and sizes. They throw what read_index does.
std::string describe_index(const std::filesystem::path& folder);
nlohmann::ordered_json describe_index_as_json(const std::filesystem::path& folder);

}  // namespace palimpsest
