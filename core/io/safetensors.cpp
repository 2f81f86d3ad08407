#include "core/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "elements are copied as they lie in the file");

constexpr std::size_t length_bytes = 8;
constexpr std::size_t piece_bytes = std::size_t{1} << 20;

/// A pipe or a device would block, or have no end.
Descriptor open_regular(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (type != fs::file_type::regular) {
    throw FileError(
        fmt::format("{}: {}", path.string(), type == fs::file_type::not_found ? "no such file" : "not a regular file"));
  }
  return Descriptor::for_reading(path);
}

/// IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of fraction. Every value of it is one of float32.
float from_float16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1fu ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

template <class Stored>
Stored element(const std::byte* bytes) {
  Stored value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

using Convert = float (*)(const std::byte*);

/// How an element becomes a float32; null for types that hold no real numbers.
Convert conversion_of(std::string_view type) {
  if (type == "F64") return [](const std::byte* bytes) { return static_cast<float>(element<double>(bytes)); };
  if (type == "F16") return [](const std::byte* bytes) { return from_float16(element<std::uint16_t>(bytes)); };
  if (type == "BF16") {
    return [](const std::byte* bytes) {
      return std::bit_cast<float>(static_cast<std::uint32_t>(element<std::uint16_t>(bytes)) << 16);
    };
  }
  return nullptr;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path), file_(open_regular(path)) {
  const std::uint64_t size = file_.size();
  std::array<std::byte, length_bytes> stored{};
  if (size < length_bytes) {
    throw FileError(
        fmt::format("{}: no safetensors file: {} bytes, fewer than the 8 of the header's length", path.string(), size));
  }
  file_.read(0, stored);
  const auto length = element<std::uint64_t>(stored.data());
  if (length > SafetensorsHeader::max_bytes || length > size - length_bytes) {
    throw FileError(fmt::format("{}: no safetensors file: a header of {} bytes in a file of {}; at most {} are allowed",
                                path.string(), length, size, SafetensorsHeader::max_bytes));
  }
  std::string text(length, '\0');
  file_.read(length_bytes, std::as_writable_bytes(std::span(text)));
  data_begin_ = length_bytes + length;
  header_ = parse_safetensors_header(text, size - data_begin_, path.string());
}

void SafetensorsFile::read(const SafetensorsEntry& entry, std::int64_t first, std::span<float> target) const {
  const auto count = static_cast<std::int64_t>(target.size());
  if (first < 0 || count > entry.shape.elements() || first > entry.shape.elements() - count) {
    throw FileError(fmt::format("{}: the tensor '{}' {} has no elements {} to {}", path_.string(),
                                printable(entry.name), entry.shape.to_string(), first, first + count));
  }
  if (target.empty()) return;
  const std::uint64_t width = entry.bytes / static_cast<std::uint64_t>(entry.shape.elements());
  std::uint64_t offset = data_begin_ + entry.begin + static_cast<std::uint64_t>(first) * width;
  if (entry.type == "F32") return file_.read(offset, std::as_writable_bytes(target));
  const Convert convert = conversion_of(entry.type);
  if (convert == nullptr) {
    throw FileError(fmt::format("{}: the tensor '{}' is of type {}, expected F32, BF16, F16 or F64", path_.string(),
                                printable(entry.name), entry.type));
  }
  std::vector<std::byte> piece(std::min<std::size_t>(piece_bytes, target.size() * width));
  while (!target.empty()) {
    const std::size_t part = std::min(piece.size() / width, target.size());
    file_.read(offset, std::span(piece).first(part * width));
    for (std::size_t i = 0; i < part; ++i) target[i] = convert(piece.data() + i * width);
    offset += part * width;
    target = target.subspan(part);
  }
}

void SafetensorsFile::read_bytes(const SafetensorsEntry& entry, std::span<std::byte> target) const {
  if (target.size() != entry.bytes) {
    throw FileError(fmt::format("{}: the tensor '{}' has {} bytes, expected {}", path_.string(), printable(entry.name),
                                entry.bytes, target.size()));
  }
  if (!target.empty()) file_.read(data_begin_ + entry.begin, target);
}

SafetensorsFolder::SafetensorsFolder(const fs::path& folder) {
  const fs::path whole = folder / file_name, index = folder / index_name;
  const bool has_whole = is_there(whole), has_index = is_there(index);
  if (has_whole == has_index) {
    throw FileError(fmt::format("{}: has {} {} and {}, expected one of them", folder.string(),
                                has_whole ? "both" : "neither", file_name, index_name));
  }
  if (has_whole) {
    add(whole);
    return;
  }
  const nlohmann::json json = parse_json(read_text_file(index), index.string());
  std::map<std::string, std::string> weight_map;
  try {
    weight_map = json.at("weight_map").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception&) {
    throw FileError(fmt::format("{}: has no object 'weight_map' of file names", index.string()));
  }
  std::map<std::string, std::string> files;  // and a tensor of each
  for (const auto& [tensor, file] : weight_map) files.emplace(file, tensor);
  for (const auto& [file, tensor] : files) {
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..") {
      throw FileError(fmt::format("{}: the tensor '{}' lies in '{}', expected the name of a file beside the index",
                                  index.string(), printable(tensor), printable(file)));
    }
    add(folder / file);
  }
  check_index(index, weight_map);
}

void SafetensorsFolder::add(const fs::path& path) {
  const SafetensorsFile& file = *files_.emplace_back(std::make_unique<SafetensorsFile>(path));
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto [place, added] = tensors_.emplace(entry.name, Place{&file, &entry});
    if (!added) {
      throw FileError(fmt::format("{}: the tensor '{}' is in {}, too", path.string(), printable(entry.name),
                                  place->second.file->path().string()));
    }
  }
}

void SafetensorsFolder::check_index(const fs::path& index, const std::map<std::string, std::string>& weight_map) const {
  for (const auto& [tensor, file] : weight_map) {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end() || found->second.file->path().filename() != file) {
      throw FileError(fmt::format("{}: the tensor '{}' is not in {}, where the index has it", index.string(),
                                  printable(tensor), printable(file)));
    }
  }
  for (const auto& [tensor, place] : tensors_) {
    if (!weight_map.contains(tensor)) {
      throw FileError(fmt::format("{}: the tensor '{}' of {} is not in the index", index.string(), printable(tensor),
                                  place.file->path().filename().string()));
    }
  }
}

}  // namespace palimpsest
