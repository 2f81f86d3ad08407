#include "launch/checkpoint/checkpoint_manifest.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/checkpoint/manifest_version_2.h"

namespace palimpsest {

namespace {

using nlohmann::json;

constexpr std::string_view format_name = "palimpsest checkpoint";
constexpr std::int64_t format_version = 3;
constexpr std::string_view directory_prefix = "step-";

/// A non-negative integer; the library's own conversion would wrap or truncate others.
std::int64_t whole_number(const json& value, std::string_view key) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    throw FileError(fmt::format("'{}' is {}, expected a non-negative integer", key, value.dump()));
  }
  return value.get<std::int64_t>();
}

DataType type_named(const std::string& name) {
  for (const DataType type : {DataType::float32, DataType::bfloat16, DataType::float64}) {
    if (name == name_of(type)) return type;
  }
  throw FileError(fmt::format("'type' is '{}', expected float32, bfloat16 or float64", name));
}

const std::string& text(const json& value) { return value.get_ref<const std::string&>(); }

CheckpointManifest from_json(const json& manifest) {
  if (text(manifest.at("format")) != format_name) {
    throw FileError(fmt::format("'format' is '{}', expected '{}'", text(manifest.at("format")), format_name));
  }
  const std::int64_t version = whole_number(manifest.at("version"), "version");
  if (version != format_version && version != 2) {
    throw FileError(
        fmt::format("'version' is {}, this program reads 2 and {}: read it with the Palimpsest that wrote it", version,
                    format_version));
  }
  CheckpointManifest result;
  result.step = whole_number(manifest.at("step"), "step");
  for (const json& file : manifest.at("files")) {
    result.files.push_back(CheckpointManifest::file_from_json(file));
    const std::string expected = checkpoint_file_name(static_cast<int>(result.files.size()) - 1);
    if (result.files.back().name != expected) {
      throw FileError(fmt::format("file '{}' is listed where '{}' is expected", result.files.back().name, expected));
    }
  }
  result.training_state = manifest.at("training_state");
  result.config_yaml = text(manifest.at("config"));
  if (version == 2) upgrade_from_version_2(result);
  return result;
}

}  // namespace

std::string CheckpointManifest::to_text() const {
  json manifest = {{"format", format_name},  {"version", format_version}, {"step", step},
                   {"files", json::array()}, {"config", config_yaml},     {"training_state", training_state}};
  for (const File& file : files) manifest["files"].push_back(file_to_json(file));
  std::string text = manifest.dump(1) + "\n";
  if (text.size() > max_bytes) {
    throw WriteError(
        fmt::format("{} would have {} bytes, more than the {} that are read again", file_name, text.size(), max_bytes));
  }
  return text;
}

std::string CheckpointManifest::hash_line(const std::string& text) {
  FileHash hash;
  hash.update(std::as_bytes(std::span(text)));
  return fmt::format("{}  {}\n", hash.digest(), file_name);
}

CheckpointManifest CheckpointManifest::from_text(const std::string& text, const std::filesystem::path& path) {
  const json manifest = parse_json(text, path.string());
  try {
    return from_json(manifest);
  } catch (const std::exception& error) {
    throw FileError(fmt::format("{}: not a checkpoint's manifest: {}", path.string(), error.what()));
  }
}

json CheckpointManifest::file_to_json(const File& file) {
  json entries = json::array();
  for (const StoredSlice& slice : file.slices) {
    entries.push_back({{"name", slice.name},
                       {"shape", slice.shape.extents()},
                       {"type", name_of(slice.type)},
                       {"begin", slice.begin},
                       {"end", slice.end},
                       {"offset", slice.offset},
                       {"xxh128", slice.hash}});
  }
  return {{"name", file.name},
          {"bytes", file.fingerprint.bytes},
          {"xxh128", file.fingerprint.hash},
          {"entries", std::move(entries)}};
}

CheckpointManifest::File CheckpointManifest::file_from_json(const json& file) {
  File result;
  result.name = text(file.at("name"));
  result.fingerprint.bytes = static_cast<std::uint64_t>(whole_number(file.at("bytes"), "bytes"));
  result.fingerprint.hash = text(file.at("xxh128"));
  for (const json& entry : file.at("entries")) {
    std::vector<std::int64_t> extents;
    for (const json& extent : entry.at("shape")) extents.push_back(whole_number(extent, "shape"));
    StoredSlice slice;
    slice.name = text(entry.at("name"));
    slice.shape = Shape(extents);
    slice.type = type_named(text(entry.at("type")));
    slice.begin = whole_number(entry.at("begin"), "begin");
    slice.end = whole_number(entry.at("end"), "end");
    slice.offset = static_cast<std::uint64_t>(whole_number(entry.at("offset"), "offset"));
    slice.hash = text(entry.at("xxh128"));
    if (slice.begin > slice.end || slice.end > slice.shape.elements() || slice.bytes() > result.fingerprint.bytes ||
        slice.offset > result.fingerprint.bytes - slice.bytes()) {
      throw FileError(fmt::format("'{}' has elements {} to {} of shape {} at byte {}: not a part of file '{}'",
                                  slice.name, slice.begin, slice.end, slice.shape.to_string(), slice.offset,
                                  result.name));
    }
    result.slices.push_back(std::move(slice));
  }
  return result;
}

std::map<std::string, CheckpointEntry> entries_of(const CheckpointManifest& manifest,
                                                  const std::filesystem::path& path) {
  std::map<std::string, CheckpointEntry> entries;
  const auto refuse = [&](const std::string& name, const std::string& reason) {
    throw FileError(fmt::format("{}: the entry '{}' {}", path.string(), name, reason));
  };
  for (std::size_t file = 0; file < manifest.files.size(); ++file) {
    for (const StoredSlice& slice : manifest.files[file].slices) {
      CheckpointEntry& entry = entries[slice.name];
      if (entry.pieces.empty()) {
        entry.shape = slice.shape;
        entry.type = slice.type;
      }
      if (entry.shape != slice.shape || entry.type != slice.type) {
        refuse(slice.name, fmt::format("is {} {} in one file and {} {} in another", name_of(entry.type),
                                       entry.shape.to_string(), name_of(slice.type), slice.shape.to_string()));
      }
      entry.pieces.push_back({file, slice});
    }
  }
  for (auto& [name, entry] : entries) {
    std::stable_sort(entry.pieces.begin(), entry.pieces.end(),
                     [](const auto& a, const auto& b) { return a.slice.begin < b.slice.begin; });
    std::int64_t expected = 0;
    for (const CheckpointEntry::Piece& piece : entry.pieces) {
      if (piece.slice.begin < expected || (expected > 0 && piece.slice.begin == piece.slice.end)) {
        refuse(name, fmt::format("has elements twice, from {} on", piece.slice.begin));
      }
      if (piece.slice.begin > expected) {
        refuse(name, fmt::format("lacks elements {} to {}", expected, piece.slice.begin));
      }
      expected = piece.slice.end;
    }
    if (expected != entry.shape.elements()) {
      refuse(name, fmt::format("lacks elements {} to {}", expected, entry.shape.elements()));
    }
  }
  return entries;
}

std::string checkpoint_file_name(int rank) { return fmt::format("state-{:05}.h5", rank); }

std::string checkpoint_directory_name(std::int64_t step) { return fmt::format("{}{:08}", directory_prefix, step); }

std::int64_t checkpoint_step(std::string_view directory_name) {
  if (!directory_name.starts_with(directory_prefix)) return -1;
  const std::string_view digits = directory_name.substr(directory_prefix.size());
  const bool is_number = std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number || digits.size() < 8 || digits.size() > 18) return -1;
  return std::stoll(std::string(digits));
}

}  // namespace palimpsest
