#include "launch/search/index_report.h"

#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/io/json_file.h"
#include "core/printable.h"
#include "launch/output/progress.h"
#include "launch/search/index_files.h"

namespace palimpsest {

namespace {

struct Sizes {
  std::int64_t documents = 0, tokens = 0;
  std::uint64_t bytes = 0;  // of the memories
};

Sizes sizes_of(const IndexManifest& index) {
  Sizes sizes;
  for (const IndexShard& shard : index.shards) {
    sizes.documents += static_cast<std::int64_t>(shard.documents.size());
    sizes.bytes += shard.bytes;
    for (const IndexedDocument& document : shard.documents) sizes.tokens += document.tokens;
  }
  return sizes;
}

std::uint64_t bytes_a_document(const Sizes& sizes) {
  return sizes.documents == 0 ? 0 : sizes.bytes / static_cast<std::uint64_t>(sizes.documents);
}

}  // namespace

bool is_index(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path manifest = path / index_manifest_name;
  if (!std::filesystem::exists(manifest, error)) return false;
  // What cannot be read as JSON is another reader's to tell.
  const nlohmann::json json = nlohmann::json::parse(read_text_file(manifest), nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.contains("format") && json["format"] == index_format;
}

std::string describe_memory_size(std::uint64_t bytes, std::int64_t documents, MemoryType type) {
  const double each = documents == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(documents);
  return fmt::format("{} a document in {}", format_bytes(each), name_of(type));
}

std::string describe_index(const std::filesystem::path& folder) {
  const IndexManifest index = read_index(folder);
  const Sizes sizes = sizes_of(index);
  return fmt::format(
      "index       {}\n"
      "documents   {}, {} tokens\n"
      "memories    {}, {} in {}\n"
      "full text   BM25, stemmer {}\n"
      "model       parameters {}, {}\n"
      "tokenizer   {}\n",
      folder.string(), sizes.documents, sizes.tokens, describe_memory_size(sizes.bytes, sizes.documents, index.type),
      format_bytes(static_cast<double>(sizes.bytes)),
      format_plural(static_cast<std::int64_t>(index.shards.size()), "file"), printable(index.stemmer),
      printable(index.model.parameters), printable(index.model.compute_type), printable(index.model.tokenizer));
}

nlohmann::ordered_json describe_index_as_json(const std::filesystem::path& folder) {
  const IndexManifest index = read_index(folder);
  const Sizes sizes = sizes_of(index);
  return {{"index", folder.string()},
          {"documents", sizes.documents},
          {"tokens", sizes.tokens},
          {"type", name_of(index.type)},
          {"bytes", sizes.bytes},
          {"bytes_a_document", bytes_a_document(sizes)},
          {"shards", index.shards.size()},
          {"stemmer", index.stemmer},
          {"parameters", index.model.parameters},
          {"compute_type", index.model.compute_type},
          {"tokenizer", index.model.tokenizer}};
}

}  // namespace palimpsest
