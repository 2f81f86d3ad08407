// Reading an index; index_writer.cpp writes it, and index_manifest.cpp understands what it says about itself.
#include "launch/search/memory_index.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/io/json_file.h"
#include "core/io/safetensors.h"
#include "core/printable.h"
#include "launch/search/index_files.h"

namespace palimpsest {

namespace fs = std::filesystem;

IndexManifest read_index(const fs::path& folder) {
  const fs::path path = folder / index_manifest_name;
  IndexManifest manifest = parse_index_manifest(read_text_file(path), path.string());
  for (IndexShard& shard : manifest.shards) {
    const SafetensorsFile file(folder / shard.file);
    const auto list = file.metadata().find(index_documents_key);
    if (list == file.metadata().end()) {
      throw FileError(fmt::format("{}: is damaged: it names no documents", file.path().string()));
    }
    shard.documents = parse_indexed_documents(list->second, file.path().string());
  }
  return manifest;
}

SequenceState read_shard(const fs::path& folder, const IndexShard& shard, const LanguageModel& model,
                         MemoryPool& pool) {
  const fs::path path = folder / shard.file;
  const std::string hash = hash_file(path);
  if (hash != shard.hash) {
    throw FileError(fmt::format("{}: is damaged: the hash of its content is {}, expected {}", path.string(), hash,
                                printable(shard.hash)));
  }
  const SafetensorsFile file(path);
  SequenceState state = model.empty_state(pool, static_cast<std::int64_t>(shard.documents.size()));
  state.for_each([&](const std::string& name, Tensor& tensor) {
    const auto entry = std::ranges::find(file.entries(), name, &SafetensorsEntry::name);
    if (entry == file.entries().end() || entry->shape != tensor.shape()) {
      throw FileError(fmt::format("{}: is damaged: {} is {}: expected {}", path.string(), name,
                                  entry == file.entries().end() ? "missing" : entry->shape.to_string(),
                                  tensor.shape().to_string()));
    }
    Tensor values(pool, tensor.shape(), DataType::float32);
    file.read(*entry, 0, values.values<float>());
    copy(values, tensor);
  });
  for (std::size_t i = 0; i < shard.documents.size(); ++i) {
    state.documents[i] = 0;
    state.tokens[i] = shard.documents[i].tokens;
  }
  return state;
}

}  // namespace palimpsest
