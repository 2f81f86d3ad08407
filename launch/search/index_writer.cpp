// Writing an index: launch/search/memory_index.h.
#include <algorithm>
#include <map>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/file_hash.h"
#include "core/io/temporary_file.h"
#include "core/printable.h"
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

/// Makes the folder, or makes sure that one that is there has nothing but an index, or what a writer that was killed
/// before its index.json has left, which is never a shard. Returns whether there is an index.
bool prepare_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / index_manifest_name, error)) return true;
  fs::create_directories(folder, error);
  if (error) throw WriteError(fmt::format("{}: cannot be created: {}", folder.string(), error.message()));
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name == index_bm25_folder || name.starts_with(temporary_prefix)) continue;
    if (is_shard_name(name)) {
      throw FileError(fmt::format("{}: holds memories ({}), but {} is missing: expected it, too, or a new folder",
                                  folder.string(), printable(name), index_manifest_name));
    }
    throw FileError(fmt::format("{}: holds {}, but no index: expected an index, an empty folder or a new one",
                                folder.string(), printable(name)));
  }
  if (error) throw FileError(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  return false;
}

/// Of an index that is there; a lost database must not become an empty one.
Bm25Index open_full_text(const fs::path& folder, const std::string& stemmer, bool create) {
  if (!create) require_full_text(folder);
  const fs::path database = folder / index_bm25_folder;
  return create ? Bm25Index::to_create(database, stemmer) : Bm25Index::to_write(database, stemmer);
}

void remove_files(const std::vector<fs::path>& files) {
  std::error_code ignored;
  for (const fs::path& file : files) fs::remove(file, ignored);
}

}  // namespace

std::string hash_of(const SearchDocument& document) {
  FileHash hash;
  const auto titled = static_cast<std::uint64_t>(document.title.size());  // so that no two give the same bytes
  hash.update(std::as_bytes(std::span(&titled, 1)));
  hash.update(std::as_bytes(std::span(document.title)));
  hash.update(std::as_bytes(std::span(document.text)));
  return hash.digest();
}

IndexWriter::IndexWriter(fs::path folder, const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                         const IndexOptions& options)
    : folder_(std::move(folder)), model_(model), pool_(pool) {
  manifest_ = {identity_of(model, tokenizer), options.type, options.stemmer, 1, {}};
  const bool there = prepare_folder(folder_);
  bm25_.emplace(open_full_text(folder_, options.stemmer, /*create=*/!there));  // it locks the index, too
  std::error_code error;
  if (fs::exists(folder_ / index_manifest_name, error)) {
    IndexManifest found = read_index(folder_);
    require_same(found.model, manifest_.model, folder_.string());
    if (found.type != options.type || found.stemmer != options.stemmer) {
      throw DataError(
          fmt::format("{}: holds memories in {}, with the stemmer {}; asked for were {} and {}: expected "
                      "the same, or a new index",
                      folder_.string(), name_of(found.type), found.stemmer, name_of(options.type), options.stemmer));
    }
    manifest_ = std::move(found);
  }
  std::set<std::string> named;
  for (const IndexShard& shard : manifest_.shards) {
    named.insert(shard.file);
    for (const IndexedDocument& document : shard.documents) known_.emplace(document.id, document.hash);
  }
  const std::vector<std::string> full_text = bm25_->ids();
  require_full_text(folder_, full_text, known_);
  remove_abandoned_files(folder_);
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (is_shard_name(name) && !named.contains(name)) fs::remove(entry.path(), ignored);
  }
  for (const std::string& id : full_text) {
    if (!known_.contains(id)) bm25_->remove(id);
  }
  bm25_->commit();
  write_manifest();
}

std::int64_t IndexWriter::reserve_shards(std::int64_t count) {
  return std::exchange(manifest_.next, manifest_.next + count);
}

void IndexWriter::add(const std::vector<IndexShard>& shards,
                      const std::function<SearchDocument(std::size_t, std::size_t)>& document_of) {
  std::set<std::string> replaced;
  std::map<std::string, std::string> added;
  for (const IndexShard& shard : shards) {
    for (const IndexedDocument& document : shard.documents) {
      if (known_.contains(document.id)) replaced.insert(document.id);
      added[document.id] = document.hash;
    }
  }
  Remainder remainder = without(replaced);
  try {
    for (std::size_t shard = 0; shard < shards.size(); ++shard) {
      for (std::size_t place = 0; place < shards[shard].documents.size(); ++place) {
        const SearchDocument document = document_of(shard, place);
        bm25_->put(document.id, document.whole_text(), document.text);
      }
    }
    bm25_->commit();  // before the manifest: what that names is there
  } catch (...) {
    bm25_->cancel();
    throw;
  }
  manifest_.shards = std::move(remainder.shards);
  manifest_.shards.insert(manifest_.shards.end(), shards.begin(), shards.end());
  write_manifest();
  for (auto& [id, hash] : added) known_[id] = std::move(hash);
  remove_files(remainder.files);
}

void IndexWriter::remove(const std::set<std::string>& ids) {
  Remainder remainder = without(ids);
  manifest_.shards = std::move(remainder.shards);
  write_manifest();
  for (const std::string& id : ids) {
    if (known_.erase(id) > 0) bm25_->remove(id);
  }
  bm25_->commit();
  remove_files(remainder.files);
}

void IndexWriter::require_whole_shards(const std::set<std::string>& ids) const {
  for (const IndexShard& shard : manifest_.shards) {
    const auto changes = [&](const IndexedDocument& document) { return ids.contains(document.id); };
    if (std::ranges::any_of(shard.documents, changes)) require_whole(folder_, shard);
  }
}

IndexWriter::Remainder IndexWriter::without(const std::set<std::string>& ids) {
  if (ids.empty()) return {manifest_.shards, {}};
  Remainder remainder;
  for (const IndexShard& shard : manifest_.shards) {
    std::vector<std::int64_t> rows;
    std::vector<IndexedDocument> documents;
    for (std::size_t i = 0; i < shard.documents.size(); ++i) {
      if (ids.contains(shard.documents[i].id)) continue;
      rows.push_back(static_cast<std::int64_t>(i));
      documents.push_back(shard.documents[i]);
    }
    if (rows.size() == shard.documents.size()) {
      remainder.shards.push_back(shard);
      continue;
    }
    remainder.files.push_back(folder_ / shard.file);
    if (rows.empty()) continue;
    const SequenceState memories = select_lanes(pool_, read_shard(folder_, shard, manifest_.type, model_, pool_), rows);
    remainder.shards.push_back(
        write_shard(folder_, reserve_shards(1), std::move(documents), {memories}, manifest_.type, pool_));
  }
  return remainder;
}

void IndexWriter::write_manifest() {
  nlohmann::ordered_json json = {{"format", index_format},
                                 {"version", index_version},
                                 {"config", manifest_.model.config},
                                 {"parameters", manifest_.model.parameters},
                                 {"compute_type", manifest_.model.compute_type},
                                 {"tokenizer", manifest_.model.tokenizer},
                                 {"type", name_of(manifest_.type)},
                                 {"stemmer", manifest_.stemmer},
                                 {"next", manifest_.next},
                                 {"shards", nlohmann::ordered_json::array()}};
  for (const IndexShard& shard : manifest_.shards) {
    json["shards"].push_back({{"file", shard.file}, {"documents", shard.documents.size()}, {"hash", shard.hash}});
  }
  write_file_atomically(folder_ / index_manifest_name, json.dump(2) + '\n');
}

}  // namespace palimpsest
