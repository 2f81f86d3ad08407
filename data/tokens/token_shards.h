// A token file in shards: a folder with an index and token files whose documents follow each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/io/hdf5_file.h"
#include "data/tokens/token_table.h"

namespace palimpsest {

struct TokenShards {
  std::vector<Hdf5File> files;
  std::vector<std::int64_t> begins;  // how many tokens stand before each
  TokenTable table;                  // of all of them
};

/// By its index a folder is known to be one.
inline constexpr const char* shard_index_name = "index.json";

/// "00012.h5"
std::string shard_name(std::size_t index);

/// Opens a folder that write_shard_index has completed, and checks the table of every shard. Throws FileError, which
/// names a shard that is missing, and DataError when they do not belong together.
TokenShards open_token_shards(const std::filesystem::path& folder);

/// Completes a folder with the shards of these names, in this order: reads every token for the checksum and writes the
/// index. Throws FileError, DataError and WriteError.
void write_shard_index(const std::filesystem::path& folder, const std::vector<std::string>& names);

}  // namespace palimpsest
