// The tokenizer of a Hugging Face model folder.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "data/text/tokenizer.h"

namespace palimpsest {

inline constexpr const char* sentencepiece_file = "tokenizer.model";
inline constexpr const char* byte_pair_file = "tokenizer.json";

/// The tokenizer that a folder comes with: what `own`, the object that `palimpsest export` adds to config.json, says of
/// it, else `tokenizer.model`, else `tokenizer.json`. Throws FileError when there is none or it makes no sense.
std::unique_ptr<Tokenizer> read_tokenizer(const std::filesystem::path& folder, const nlohmann::json& own);

/// Writes what transformers needs for a tokenizer, as far as it can be said: a SentencePiece model or tokenizer.json
/// with a tokenizer_config.json, nothing for others. Throws WriteError.
void write_tokenizer(const std::filesystem::path& folder, const Tokenizer& tokenizer, std::int64_t context);

/// What a tokenizer of which transformers knows nothing is found again by; null for those that have a file.
nlohmann::ordered_json describe_tokenizer(const Tokenizer& tokenizer);

}  // namespace palimpsest
