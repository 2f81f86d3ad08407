// What index.json and the shards say, read with care: launch/search/memory_index.h.
#include <cstdint>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"

namespace palimpsest {

namespace {

const nlohmann::json& member(const nlohmann::json& json, const char* key, nlohmann::json::value_t type,
                             const std::string& name) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  // A number from 0 has a type of its own in the parser.
  if (found == json.end() || found->type() != type) {
    throw FileError(fmt::format("{}: is damaged: \"{}\" is {}", name, key,
                                found == json.end() ? "missing" : printable(found->dump(), 80)));
  }
  return *found;
}

std::string text(const nlohmann::json& json, const char* key, const std::string& name) {
  return member(json, key, nlohmann::json::value_t::string, name).get<std::string>();
}

std::int64_t number(const nlohmann::json& json, const char* key, const std::string& name) {
  const auto value = member(json, key, nlohmann::json::value_t::number_unsigned, name).get<std::uint64_t>();
  if (value > std::uint64_t{1} << 60) throw FileError(fmt::format("{}: is damaged: \"{}\" is {}", name, key, value));
  return static_cast<std::int64_t>(value);
}

}  // namespace

std::vector<IndexedDocument> parse_indexed_documents(std::string_view json_text, const std::string& name) {
  const nlohmann::json list = parse_json(json_text, name);
  if (!list.is_array()) throw FileError(fmt::format("{}: is damaged: its documents are no list", name));
  std::vector<IndexedDocument> documents;
  for (const nlohmann::json& document : list) {
    documents.push_back({text(document, "id", name), text(document, "title", name), text(document, "hash", name),
                         number(document, "tokens", name)});
  }
  return documents;
}

IndexManifest parse_index_manifest(std::string_view json_text, const std::string& name) {
  const nlohmann::json json = parse_json(json_text, name);
  if (text(json, "format", name) != index_format) {
    throw FileError(fmt::format("{}: is not an index, which palimpsest index writes", name));
  }
  if (const std::int64_t version = number(json, "version", name); version != index_version) {
    throw FileError(fmt::format("{}: is an index of version {}: expected {}", name, version, index_version));
  }
  IndexManifest manifest;
  manifest.model = {text(json, "config", name), text(json, "parameters", name), text(json, "compute_type", name),
                    text(json, "tokenizer", name)};
  const std::string named = text(json, "type", name);
  const auto type = memory_type_of(named);
  if (!type) {
    throw FileError(
        fmt::format("{}: is damaged: \"type\" is {}: expected float32, bfloat16 or int8", name, printable(named)));
  }
  manifest.type = *type;
  manifest.stemmer = text(json, "stemmer", name);
  manifest.next = number(json, "next", name);
  for (const nlohmann::json& entry : member(json, "shards", nlohmann::json::value_t::array, name)) {
    IndexShard shard{text(entry, "file", name), text(entry, "hash", name), {}};
    if (!is_shard_name(shard.file)) {
      throw FileError(fmt::format("{}: is damaged: {} is no shard's name", name, printable(shard.file)));
    }
    manifest.shards.push_back(std::move(shard));
  }
  return manifest;
}

}  // namespace palimpsest
