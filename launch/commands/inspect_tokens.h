// What a token file holds, for palimpsest inspect.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/tokens/token_file.h"

namespace palimpsest {

/// Whether a path is that of a token file, whole or in shards, rather than of a checkpoint or a run.
bool is_token_file(const std::filesystem::path& path);

/// Tokenizer, sizes and a line for every document.
std::string describe(const TokenFile& file);
nlohmann::ordered_json describe_as_json(const TokenFile& file);

/// Part of a document's text, as its tokens give it back, masked as a whole or not at all.
struct DocumentPart {
  bool masked = false;
  std::int64_t tokens = 0;
  std::string text;
};

/// The text of a document in its parts. Throws DataError when there is no such document.
std::vector<DocumentPart> parts_of(const TokenFile& file, std::int64_t document);

/// Its name and sizes, and its parts under lines that say whether they are masked.
std::string describe_document(const TokenFile& file, std::int64_t document);
nlohmann::ordered_json describe_document_as_json(const TokenFile& file, std::int64_t document);

}  // namespace palimpsest
