// Names in an index's folder, for those who read and write it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace palimpsest {

inline constexpr const char* index_format = "palimpsest index";
inline constexpr std::int64_t index_version = 1;
inline constexpr const char* index_manifest_name = "index.json";
inline constexpr const char* index_bm25_folder = "bm25";
/// Of a shard's metadata: the list of its documents, JSON.
inline constexpr const char* index_documents_key = "documents";

/// Of messages about an index that cannot be mended.
inline constexpr const char* remake_hint = "indexing the corpus into a new folder makes it anew";

inline std::string shard_name(std::int64_t number) { return fmt::format("states-{:06}.safetensors", number); }

inline bool is_shard_name(std::string_view name) {
  return name.starts_with("states-") && name.ends_with(".safetensors") && name.find('/') == std::string_view::npos;
}

}  // namespace palimpsest
