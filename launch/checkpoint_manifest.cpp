#include "launch/checkpoint_manifest.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"

namespace palimpsest {

namespace {

using nlohmann::json;

constexpr std::string_view format_name = "palimpsest checkpoint";
constexpr std::int64_t format_version = 1;
constexpr std::string_view directory_prefix = "step-";

/// A non-negative integer; the library's own conversion would wrap or truncate others.
std::int64_t whole_number(const json& value, std::string_view key) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    throw FileError(fmt::format("'{}' is {}, expected a non-negative integer", key, value.dump()));
  }
  return value.get<std::int64_t>();
}

const std::string& text(const json& value) { return value.get_ref<const std::string&>(); }

CheckpointManifest from_json(const json& manifest) {
  if (text(manifest.at("format")) != format_name) {
    throw FileError(fmt::format("'format' is '{}', expected '{}'", text(manifest.at("format")), format_name));
  }
  const std::int64_t version = whole_number(manifest.at("version"), "version");
  if (version != format_version) {
    throw FileError(fmt::format("'version' is {}, this program reads {}", version, format_version));
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
  return result;
}

}  // namespace

std::string CheckpointManifest::to_text() const {
  json manifest = {{"format", format_name},  {"version", format_version}, {"step", step},
                   {"files", json::array()}, {"config", config_yaml},     {"training_state", training_state}};
  for (const File& file : files) manifest["files"].push_back(file_to_json(file));
  return manifest.dump(1) + "\n";
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
  for (const Entry& entry : file.entries) {
    entries.push_back({{"name", entry.name}, {"shape", entry.shape.extents()}, {"type", entry.type}});
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
    result.entries.push_back({text(entry.at("name")), Shape(extents), text(entry.at("type"))});
  }
  return result;
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
