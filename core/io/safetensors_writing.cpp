// Writing of safetensors files: core/io/safetensors.h.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <functional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/safetensors.h"
#include "core/io/temporary_file.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t piece_elements = std::size_t{1} << 18;

SafetensorsHeader header_of(const fs::path& path, const StateDictionary& tensors, DataType type,
                            const std::map<std::string, std::string>& metadata) {
  if (type == DataType::float64) throw WriteError(fmt::format("{}: written are float32 and bfloat16", path.string()));
  SafetensorsHeader header{.entries = {}, .metadata = metadata};
  for (const StateDictionary::Entry& entry : tensors) {
    if (!entry.whole() || entry.tensor.data_type() != DataType::float32) {
      throw WriteError(fmt::format("{}: '{}' is not a whole tensor of float32", path.string(), entry.name));
    }
    const std::uint64_t bytes = static_cast<std::uint64_t>(entry.tensor.elements()) * size_of(type);
    header.entries.push_back(
        {entry.name, type == DataType::bfloat16 ? "BF16" : "F32", entry.shape, header.data_bytes(), bytes});
  }
  return header;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void append(Descriptor& file, std::span<const float> values, DataType type) {
  if (type == DataType::float32) return file.write(text_of(std::as_bytes(values)));
  std::vector<bfloat16> piece;
  piece.reserve(std::min(values.size(), piece_elements));
  for (; !values.empty(); values = values.subspan(piece.size())) {
    const auto part = values.first(std::min(values.size(), piece_elements));
    piece.assign(part.begin(), part.end());
    file.write(text_of(std::as_bytes(std::span(piece))));
  }
}

void write_file(const fs::path& path, const SafetensorsHeader& header,
                const std::function<void(Descriptor&)>& write_data) {
  static_assert(std::endian::native == std::endian::little, "elements are written as they lie in memory");
  const std::string text = header.to_text();
  if (text.size() > SafetensorsHeader::max_bytes) {
    throw WriteError(fmt::format("{}: a header of {} bytes, at most {} are allowed", path.string(), text.size(),
                                 SafetensorsHeader::max_bytes));
  }
  const fs::path temporary = temporary_file_for(path);
  try {
    Descriptor file = Descriptor::for_writing(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    const std::uint64_t length = text.size();
    file.write(text_of(std::as_bytes(std::span(&length, 1))));
    file.write(text);
    write_data(file);
    file.synchronize();
    file.close();
    if (const auto error = rename_into_place(temporary, path)) {
      throw WriteError(fmt::format("{}: cannot replace: {}", path.string(), error.message()));
    }
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  synchronize_to_disk(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

}  // namespace

void write_safetensors(const fs::path& path, const StateDictionary& tensors, DataType type,
                       const std::map<std::string, std::string>& metadata) {
  write_file(path, header_of(path, tensors, type, metadata), [&](Descriptor& file) {
    for (const StateDictionary::Entry& entry : tensors) append(file, entry.tensor.values<float>(), type);
  });
}

void write_safetensors(const fs::path& path, std::span<const SafetensorsData> tensors,
                       const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header{.entries = {}, .metadata = metadata};
  for (const SafetensorsData& tensor : tensors) {
    header.entries.push_back({tensor.name, tensor.type, tensor.shape, header.data_bytes(), tensor.bytes.size()});
  }
  try {
    parse_safetensors_header(header.to_text(), header.data_bytes(), path.string());
  } catch (const FileError& error) {
    throw WriteError(error.what());
  }
  write_file(path, header, [&](Descriptor& file) {
    for (const SafetensorsData& tensor : tensors) file.write(text_of(tensor.bytes));
  });
}

void write_safetensors_folder(const fs::path& folder, const StateDictionary& tensors, DataType type,
                              const std::map<std::string, std::string>& metadata, std::uint64_t shard_bytes) {
  std::vector<StateDictionary> shards(1);
  std::uint64_t all = 0, in_shard = 0;
  for (const StateDictionary::Entry& entry : tensors) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(entry.tensor.elements()) * size_of(type);
    if (!shards.back().empty() && in_shard + bytes > shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().add(entry);
    in_shard += bytes;
    all += bytes;
  }
  if (shards.size() == 1) return write_safetensors(folder / SafetensorsFolder::file_name, tensors, type, metadata);

  nlohmann::ordered_json index = {{"metadata", {{"total_size", all}}},
                                  {"weight_map", nlohmann::ordered_json::object()}};
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(folder / name, shards[i], type, metadata);
    for (const StateDictionary::Entry& entry : shards[i]) index["weight_map"][entry.name] = name;
  }
  write_file_atomically(folder / SafetensorsFolder::index_name, index.dump(2) + '\n');
}

}  // namespace palimpsest
