// Reading an index: index_shard.cpp reads and writes its shards, index_writer.cpp the whole, and index_manifest.cpp
// understands what it says about itself.
#include "launch/search/memory_index.h"

#include "core/io/json_file.h"
#include "launch/search/index_files.h"

namespace palimpsest {

namespace fs = std::filesystem;

IndexManifest read_index(const fs::path& folder) {
  const fs::path path = folder / index_manifest_name;
  IndexManifest manifest = parse_index_manifest(read_text_file(path), path.string());
  for (IndexShard& shard : manifest.shards) shard = open_shard(folder, shard.file, shard.hash);
  return manifest;
}

}  // namespace palimpsest
