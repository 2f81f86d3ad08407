// Reading an index: index_shard.cpp reads and writes its shards, index_writer.cpp the whole, and index_manifest.cpp
// understands what it says about itself.
#include "launch/search/memory_index.h"

#include <system_error>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "launch/search/index_files.h"

namespace palimpsest {

namespace fs = std::filesystem;

IndexManifest read_index(const fs::path& folder) {
  const fs::path path = folder / index_manifest_name;
  IndexManifest manifest = parse_index_manifest(read_text_file(path), path.string());
  require_full_text(folder);
  for (IndexShard& shard : manifest.shards) shard = open_shard(folder, shard.file, shard.hash);
  return manifest;
}

void require_full_text(const fs::path& folder) {
  const fs::path database = folder / index_bm25_folder;
  std::error_code error;
  if (fs::exists(database, error)) return;
  throw FileError(
      fmt::format("{}: is missing: expected the full-text part of the index; {}", database.string(), remake_hint));
}

void require_full_text(const fs::path& folder, const std::vector<std::string>& ids,
                       const std::map<std::string, std::string>& documents) {
  const std::set<std::string_view> there(ids.begin(), ids.end());
  std::int64_t missing = 0;
  std::string first;
  for (const auto& [id, about] : documents) {
    if (!there.contains(id) && ++missing == 1) first = id;
  }
  if (missing == 0) return;
  throw FileError(fmt::format("{}: does not belong to the index: it lacks {} of {} documents, the first {}; {}",
                              (folder / index_bm25_folder).string(), missing, documents.size(), printable(first),
                              remake_hint));
}

}  // namespace palimpsest
