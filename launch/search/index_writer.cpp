// Writing an index: launch/search/memory_index.h.
#include <algorithm>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/io/file_hash.h"
#include "core/io/safetensors.h"
#include "core/io/temporary_file.h"
#include "core/printable.h"
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

/// So much is held in memory before a shard is written, at most.
constexpr std::uint64_t shard_bytes = std::uint64_t{64} << 20;
constexpr std::string_view remake_hint = "indexing the corpus into a new folder makes it anew";

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
  const fs::path database = folder / index_bm25_folder;
  std::error_code error;
  if (!create && !fs::exists(database, error)) {
    throw FileError(
        fmt::format("{}: is missing: expected the full-text part of the index; {}", database.string(), remake_hint));
  }
  return create ? Bm25Index::to_create(database, stemmer) : Bm25Index::to_write(database, stemmer);
}

void remove_files(const std::vector<fs::path>& files) {
  std::error_code ignored;
  for (const fs::path& file : files) fs::remove(file, ignored);
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
    : folder_(std::move(folder)), model_(model), pool_(pool), options_(options) {
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
  require_full_text(std::set<std::string>(full_text.begin(), full_text.end()));
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

void IndexWriter::require_full_text(const std::set<std::string>& ids) const {
  std::int64_t missing = 0;
  std::string first;
  for (const auto& [id, hash] : known_) {
    if (!ids.contains(id) && ++missing == 1) first = id;
  }
  if (missing == 0) return;
  throw FileError(fmt::format("{}: does not belong to the index: it lacks {} of {} documents, the first {}; {}",
                              (folder_ / index_bm25_folder).string(), missing, known_.size(), printable(first),
                              remake_hint));
}

void IndexWriter::put(const SearchDocument& document, std::int64_t tokens, const SequenceState& memory) {
  if (std::ranges::find(pending_, document.id, &IndexedDocument::id) != pending_.end()) {
    throw DataError(fmt::format("{}: document {} was put twice", folder_.string(), printable(document.id)));
  }
  bm25_->put(document.id, document.whole_text());
  if (known_.contains(document.id)) replaced_.insert(document.id);
  known_[document.id] = hash_of(document);
  pending_.push_back({document.id, document.title, known_.at(document.id), tokens});
  memories_.push_back(memory);
  memory.for_each([&](const std::string&, const Tensor& tensor) { pending_bytes_ += tensor.bytes(); });
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - last_flush_;
  if (static_cast<std::int64_t>(pending_.size()) >= options_.shard_documents || pending_bytes_ >= shard_bytes ||
      since.count() > options_.shard_seconds) {
    flush();
  }
}

void IndexWriter::flush() {
  last_flush_ = std::chrono::steady_clock::now();
  pending_bytes_ = 0;
  if (pending_.empty()) return;
  const std::vector<fs::path> files = take_out(std::exchange(replaced_, {}));
  bm25_->commit();  // before the manifest: what that names is there
  manifest_.shards.push_back(write_shard(std::exchange(pending_, {}), std::exchange(memories_, {})));
  write_manifest();
  remove_files(files);
}

void IndexWriter::remove(const std::set<std::string>& ids) {
  flush();
  const std::vector<fs::path> files = take_out(ids);
  write_manifest();
  for (const std::string& id : ids) {
    if (known_.erase(id) > 0) bm25_->remove(id);
  }
  bm25_->commit();
  remove_files(files);
}

std::vector<fs::path> IndexWriter::take_out(const std::set<std::string>& ids) {
  std::vector<fs::path> replaced;
  if (ids.empty()) return replaced;
  std::vector<IndexShard> shards;
  for (const IndexShard& shard : manifest_.shards) {
    std::vector<std::int64_t> rows;
    std::vector<IndexedDocument> documents;
    for (std::size_t i = 0; i < shard.documents.size(); ++i) {
      if (ids.contains(shard.documents[i].id)) continue;
      rows.push_back(static_cast<std::int64_t>(i));
      documents.push_back(shard.documents[i]);
    }
    if (rows.size() == shard.documents.size()) {
      shards.push_back(shard);
      continue;
    }
    replaced.push_back(folder_ / shard.file);
    if (rows.empty()) continue;
    const SequenceState memories = select_lanes(pool_, read_shard(folder_, shard, model_, pool_), rows);
    shards.push_back(write_shard(std::move(documents), {memories}));
  }
  manifest_.shards = std::move(shards);
  return replaced;
}

IndexShard IndexWriter::write_shard(std::vector<IndexedDocument> documents,
                                    const std::vector<SequenceState>& memories) {
  nlohmann::json list = nlohmann::json::array();
  for (const IndexedDocument& document : documents) {
    list.push_back(
        {{"id", document.id}, {"title", document.title}, {"hash", document.hash}, {"tokens", document.tokens}});
  }
  const std::string name = shard_name(manifest_.next++);
  write_safetensors(folder_ / name, joined(memories, pool_), manifest_.type, {{index_documents_key, list.dump()}});
  return {name, hash_file(folder_ / name), std::move(documents)};
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
