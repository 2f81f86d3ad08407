// Documents' memories in a folder (docs/file-formats.md, "Search indexes"):
//   index.json            what the index is of, and its shards: what is not named there does not count
//   states-N.safetensors  a shard: of some documents the tensors of their memories, documents first
//   bm25/                 the same documents for full-text search (launch/search/bm25.h)
// Shards, index.json and what full-text search has are each replaced whole, full-text search first. An error, or a
// kill, loses what was read since the last shard, and nothing else: until then a document that is replaced is there as
// it was. Only where a kill comes between full-text search and index.json, or that cannot be written, an old memory
// stands beside a new text, and then the next call, which still finds the document changed, reads it again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launch/inference/generator_file.h"
#include "launch/search/bm25.h"
#include "launch/search/memory_type.h"
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
  std::uint64_t bytes = 0;  // of their memories
};

/// What index.json says, and the lists of documents that the shards have.
struct IndexManifest {
  GeneratorIdentity model;
  MemoryType type = MemoryType::float32;
  std::string stemmer = "none";  // of full-text search
  std::int64_t next = 1;         // number of the next shard
  std::vector<IndexShard> shards;
};

/// index.json, its shards without their documents; and the list of these that a shard has. Both throw FileError, which
/// starts with `name`, on anything else.
IndexManifest parse_index_manifest(std::string_view json_text, const std::string& name);
std::vector<IndexedDocument> parse_indexed_documents(std::string_view json_text, const std::string& name);

/// Throws FileError, starting with a path, when the folder is no index, of another version, lacks a part, or is damaged
/// as far as that can be told without reading all memories.
IndexManifest read_index(const std::filesystem::path& folder);

/// Throws FileError when the file of a shard is not what was written.
void require_whole(const std::filesystem::path& folder, const IndexShard& shard);

/// The memories of all documents of a shard, in their order, which are stored in this type. Throws FileError when the
/// file is damaged or lacks a tensor of the model.
SequenceState read_shard(const std::filesystem::path& folder, const IndexShard& shard, MemoryType type,
                         const LanguageModel& model, MemoryPool& pool);

/// Writes the memories of documents, one lane after the other, as shard `number` of a folder. Throws WriteError, and
/// NumericalError on a memory that is not finite and shall be int8.
IndexShard write_shard(const std::filesystem::path& folder, std::int64_t number, std::vector<IndexedDocument> documents,
                       const std::vector<SequenceState>& memories, MemoryType type, MemoryPool& pool);
/// The shard of that name with the list of documents that it has. Throws FileError.
IndexShard open_shard(const std::filesystem::path& folder, std::string file, std::string hash);

/// Throws FileError, naming what is missing, unless the folder has a full-text part; unless that holds these documents,
/// given by id, and perhaps others, as a writer that was killed may leave them.
void require_full_text(const std::filesystem::path& folder);
void require_full_text(const std::filesystem::path& folder, const std::vector<std::string>& ids,
                       const std::map<std::string, std::string>& documents);

struct IndexOptions {
  MemoryType type = MemoryType::float32;
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

  const IndexManifest& manifest() const { return manifest_; }
  /// By id the hash of every document that it has.
  const std::map<std::string, std::string>& documents() const { return known_; }
  /// So many numbers for shards, which are nobody else's, and of which any may stay without one: the first of them.
  std::int64_t reserve_shards(std::int64_t count);
  /// Adds shards that lie in the folder, and the texts of their documents, which `document_of` has for shard and place.
  /// What they have takes the place of what has the same id. Throws what read_shard and write_shard do, and
  /// `document_of`: the index is as it was then.
  void add(const std::vector<IndexShard>& shards,
           const std::function<SearchDocument(std::size_t shard, std::size_t place)>& document_of);
  /// Removes documents; shards that hold some of them are written anew. Throws as `add` does.
  void remove(const std::set<std::string>& ids);
  /// Throws FileError when a shard that holds some of these documents is damaged, so that it could not be written anew
  /// without them.
  void require_whole_shards(const std::set<std::string>& ids) const;

 private:
  struct Remainder {
    std::vector<IndexShard> shards;
    std::vector<std::filesystem::path> files;  // that are not among them any more
  };

  void write_manifest();
  /// What the index has without these documents, for the manifest; nothing in it changes until then.
  Remainder without(const std::set<std::string>& ids);

  std::filesystem::path folder_;
  const LanguageModel& model_;
  MemoryPool& pool_;
  IndexManifest manifest_;
  std::optional<Bm25Index> bm25_;
  std::map<std::string, std::string> known_;
};

}  // namespace palimpsest
