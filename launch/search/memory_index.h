// Documents' memories in a folder (docs/file-formats.md, "Search indexes"):
//   index.json            what the index is of, and its shards: what is not named there does not count
//   states-N.safetensors  a shard: of some documents the tensors of their memories, documents first
//   bm25/                 the same documents for full-text search (launch/search/bm25.h)
// Shards and index.json are replaced whole. A kill loses what was read since the last shard, and nothing else: until
// then a document that is replaced is there as it was.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/storage.h"
#include "launch/inference/generator_file.h"
#include "launch/search/bm25.h"
#include "launch/search/search_corpus.h"
#include "layers/language_model.h"

namespace palimpsest {

/// What an index keeps of a document beside its memory.
struct IndexedDocument {
  std::string id, title;
  std::string hash;         // XXH3-128 of title and text: whether it is still the same
  std::int64_t tokens = 0;  // that the model has read

  bool operator==(const IndexedDocument&) const = default;
};

/// XXH3-128 of title and text.
std::string hash_of(const SearchDocument& document);

struct IndexShard {
  std::string file;  // its name in the folder
  std::string hash;  // of the file
  std::vector<IndexedDocument> documents;
};

/// What index.json says, and the lists of documents that the shards have.
struct IndexManifest {
  GeneratorIdentity model;
  DataType type = DataType::float32;  // of the stored memories
  std::string stemmer = "none";       // of full-text search
  std::int64_t next = 1;              // number of the next shard
  std::vector<IndexShard> shards;
};

/// index.json, its shards without their documents; and the list of these that a shard has. Both throw FileError, which
/// starts with `name`, on anything else.
IndexManifest parse_index_manifest(std::string_view json_text, const std::string& name);
std::vector<IndexedDocument> parse_indexed_documents(std::string_view json_text, const std::string& name);

/// Throws FileError, starting with a path, when the folder is no index, of another version, or damaged as far as that
/// can be told without reading all memories.
IndexManifest read_index(const std::filesystem::path& folder);

/// The memories of all documents of a shard, in their order. Throws FileError when the file is damaged or lacks a
/// tensor of the model.
SequenceState read_shard(const std::filesystem::path& folder, const IndexShard& shard, const LanguageModel& model,
                         MemoryPool& pool);

struct IndexOptions {
  DataType type = DataType::float32;
  std::string stemmer = "none";
  std::int64_t shard_documents = 512;  // a shard is written after so many documents,
  double shard_seconds = 30;           // or so many seconds
};

class IndexWriter {
 public:
  /// Opens an index of this model and tokenizer, or makes one. Removes what a killed writer has left. Throws DataError
  /// when the index is of another model, type or stemmer, FileError on a folder with something else in it, on shards
  /// without index.json and on an index whose full-text part is missing or lacks documents, and WriteError when another
  /// process writes to it.
  IndexWriter(std::filesystem::path folder, const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
              const IndexOptions& options);

  /// By id the hash of every document that it has.
  const std::map<std::string, std::string>& documents() const { return known_; }
  /// Adds a document with its memory, one lane, of so many tokens. It takes the place of one with the same id, which
  /// goes when this one's shard is written. Throws DataError on an id that was put since the last shard already.
  void put(const SearchDocument& document, std::int64_t tokens, const SequenceState& memory);
  /// Writes what has been put since the last shard.
  void flush();
  /// Removes documents; shards that hold some of them are written anew.
  void remove(const std::set<std::string>& ids);

 private:
  IndexShard write_shard(std::vector<IndexedDocument> documents, const std::vector<SequenceState>& memories);
  void write_manifest();
  /// Of the manifest, which is still to be written; returns the files that it does not name any more then.
  std::vector<std::filesystem::path> take_out(const std::set<std::string>& ids);
  void require_full_text(const std::set<std::string>& ids) const;

  std::filesystem::path folder_;
  const LanguageModel& model_;
  MemoryPool& pool_;
  IndexOptions options_;
  IndexManifest manifest_;
  std::optional<Bm25Index> bm25_;
  std::map<std::string, std::string> known_;  // with those of pending_
  std::vector<IndexedDocument> pending_;
  std::vector<SequenceState> memories_;  // of pending_
  std::set<std::string> replaced_;       // of pending_ those that a shard has, too
  std::uint64_t pending_bytes_ = 0;
  std::chrono::steady_clock::time_point last_flush_ = std::chrono::steady_clock::now();
};

}  // namespace palimpsest
