// The shards of an index: launch/search/memory_index.h.
#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/io/safetensors.h"
#include "core/printable.h"
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

/// The memories of several documents, one after the other, as tensors of float32.
StateDictionary joined(const std::vector<SequenceState>& memories, MemoryPool& pool) {
  StateDictionary tensors;
  std::map<std::string, std::vector<Tensor>> parts;
  for (const SequenceState& memory : memories) {
    memory.for_each([&](const std::string& name, const Tensor& tensor) { parts[name].push_back(tensor); });
  }
  for (const auto& [name, of_name] : parts) {
    std::vector<std::int64_t> extents(of_name.front().shape().extents().begin(),
                                      of_name.front().shape().extents().end());
    extents.front() = 0;
    for (const Tensor& part : of_name) extents.front() += part.shape()[0];
    Tensor all(pool, Shape(extents), DataType::float32);
    std::int64_t row = 0;
    for (const Tensor& part : of_name) {
      Tensor target = all.rows(row, row + part.shape()[0]);
      copy(part, target);
      row += part.shape()[0];
    }
    tensors.add(name, all);
  }
  return tensors;
}

}  // namespace

IndexShard write_shard(const fs::path& folder, std::int64_t number, std::vector<IndexedDocument> documents,
                       const std::vector<SequenceState>& memories, DataType type, MemoryPool& pool) {
  nlohmann::json list = nlohmann::json::array();
  for (const IndexedDocument& document : documents) {
    list.push_back(
        {{"id", document.id}, {"title", document.title}, {"hash", document.hash}, {"tokens", document.tokens}});
  }
  const std::string name = shard_name(number);
  write_safetensors(folder / name, joined(memories, pool), type, {{index_documents_key, list.dump()}});
  return {name, hash_file(folder / name), std::move(documents)};
}

IndexShard open_shard(const fs::path& folder, std::string file, std::string hash) {
  const SafetensorsFile tensors(folder / file);
  const auto list = tensors.metadata().find(index_documents_key);
  if (list == tensors.metadata().end()) {
    throw FileError(fmt::format("{}: is damaged: it names no documents", tensors.path().string()));
  }
  return {std::move(file), std::move(hash), parse_indexed_documents(list->second, tensors.path().string())};
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
