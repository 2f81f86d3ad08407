// What a token file holds, for palimpsest inspect.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "data/tokens/token_file.h"

namespace palimpsest {

/// Whether a path is that of a token file, whole or in shards, rather than of a checkpoint or a run.
bool is_token_file(const std::filesystem::path& path);

/// Tokenizer, sizes and a line for every document.
std::string describe(const TokenFile& file);
nlohmann::ordered_json describe_as_json(const TokenFile& file);

}  // namespace palimpsest
