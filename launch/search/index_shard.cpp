// The shards of an index: launch/search/memory_index.h.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/io/safetensors.h"
#include "core/printable.h"
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"
#include "launch/search/quantized_rows.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr const char* scale_suffix = ".scale";

Shape without_last_axis(const Shape& shape) {
  const auto extents = shape.extents();
  return Shape(std::vector<std::int64_t>(extents.begin(), extents.end() - 1));
}

std::uint64_t bytes_in(const SafetensorsFile& file) {
  std::uint64_t bytes = 0;
  for (const SafetensorsEntry& entry : file.entries()) bytes += entry.bytes;
  return bytes;
}

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

/// In eight bits.
void write_quantized(const fs::path& path, const StateDictionary& tensors,
                     const std::vector<IndexedDocument>& documents,
                     const std::map<std::string, std::string>& metadata) {
  std::vector<QuantizedRows> all;
  std::vector<SafetensorsData> data;
  all.reserve(tensors.size());
  for (const StateDictionary::Entry& entry : tensors) {
    const Shape scales = without_last_axis(entry.shape);
    const QuantizedRows& rows =
        all.emplace_back(quantize(entry.tensor.values<float>(), entry.shape[entry.shape.rank() - 1]));
    for (std::size_t i = 0; i < rows.scales.size(); ++i) {
      if (std::isfinite(rows.scales[i])) continue;
      const std::size_t document = i / (rows.scales.size() / documents.size());
      throw NumericalError(fmt::format("document {}: {} is not finite in its memory, and int8 cannot say so",
                                       printable(documents[document].id), entry.name));
    }
    data.push_back({entry.name, "I8", entry.shape, std::as_bytes(std::span(rows.values))});
    data.push_back({entry.name + scale_suffix, "F32", scales, std::as_bytes(std::span(rows.scales))});
  }
  write_safetensors(path, data, metadata);
}

}  // namespace

IndexShard write_shard(const fs::path& folder, std::int64_t number, std::vector<IndexedDocument> documents,
                       const std::vector<SequenceState>& memories, MemoryType type, MemoryPool& pool) {
  nlohmann::json list = nlohmann::json::array();
  for (const IndexedDocument& document : documents) {
    list.push_back(
        {{"id", document.id}, {"title", document.title}, {"hash", document.hash}, {"tokens", document.tokens}});
  }
  const std::string name = shard_name(number);
  const std::map<std::string, std::string> metadata = {{index_documents_key, list.dump()}};
  const StateDictionary tensors = joined(memories, pool);
  if (type == MemoryType::int8) {
    write_quantized(folder / name, tensors, documents, metadata);
  } else {
    write_safetensors(folder / name, tensors, type == MemoryType::float32 ? DataType::float32 : DataType::bfloat16,
                      metadata);
  }
  return {name, hash_file(folder / name), std::move(documents), bytes_in(SafetensorsFile(folder / name))};
}

IndexShard open_shard(const fs::path& folder, std::string file, std::string hash) {
  const SafetensorsFile tensors(folder / file);
  const auto list = tensors.metadata().find(index_documents_key);
  if (list == tensors.metadata().end()) {
    throw FileError(fmt::format("{}: is damaged: it names no documents", tensors.path().string()));
  }
  return {std::move(file), std::move(hash), parse_indexed_documents(list->second, tensors.path().string()),
          bytes_in(tensors)};
}

void require_whole(const fs::path& folder, const IndexShard& shard) {
  const fs::path path = folder / shard.file;
  const std::string hash = hash_file(path);
  if (hash == shard.hash) return;
  throw FileError(fmt::format("{}: is damaged: the hash of its content is {}, expected {}; {}", path.string(), hash,
                              printable(shard.hash), remake_hint));
}

SequenceState read_shard(const fs::path& folder, const IndexShard& shard, MemoryType type, const LanguageModel& model,
                         MemoryPool& pool) {
  require_whole(folder, shard);
  const fs::path path = folder / shard.file;
  const SafetensorsFile file(path);
  SequenceState state = model.empty_state(pool, static_cast<std::int64_t>(shard.documents.size()));
  const auto entry_of = [&](const std::string& name, const Shape& shape, std::string_view type) {
    const auto entry = std::ranges::find(file.entries(), name, &SafetensorsEntry::name);
    if (entry == file.entries().end() || entry->shape != shape || (!type.empty() && entry->type != type)) {
      throw FileError(fmt::format(
          "{}: is damaged: {} is {}: expected {} {}", path.string(), name,
          entry == file.entries().end() ? "missing" : fmt::format("{} {}", entry->type, entry->shape.to_string()),
          type.empty() ? "F32 or BF16" : type, shape.to_string()));
    }
    return *entry;
  };
  state.for_each([&](const std::string& name, Tensor& tensor) {
    Tensor values(pool, tensor.shape(), DataType::float32);
    if (type == MemoryType::int8) {
      const Shape scales = without_last_axis(tensor.shape());
      QuantizedRows rows{std::vector<std::int8_t>(static_cast<std::size_t>(tensor.elements())),
                         std::vector<float>(static_cast<std::size_t>(scales.elements()))};
      file.read_bytes(entry_of(name, tensor.shape(), "I8"), std::as_writable_bytes(std::span(rows.values)));
      file.read(entry_of(name + scale_suffix, scales, "F32"), 0, rows.scales);
      restore(rows, values.values<float>());
    } else {
      file.read(entry_of(name, tensor.shape(), ""), 0, values.values<float>());
    }
    copy(values, tensor);
  });
  for (std::size_t i = 0; i < shard.documents.size(); ++i) {
    state.documents[i] = 0;
    state.tokens[i] = shard.documents[i].tokens;
  }
  return state;
}

}  // namespace palimpsest
