// Reading a corpus into an index: what it lacks, and nothing that it has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "launch/search/memory_index.h"
#include "launch/search/search_corpus.h"

namespace palimpsest {

/// Of all ranks when they met last, and of this one since.
struct IndexingProgress {
  std::int64_t documents = 0, all = 0;  // read, of those that were to be read
  std::int64_t tokens = 0;
  std::int64_t bytes = 0, all_bytes = 0;  // of their texts
};

struct IndexingOptions {
  IndexOptions index = {};
  bool skip_empty = false;  // documents without a word are left out, instead of being refused
  bool prune = false;       // documents that the corpus lacks are removed
};

struct IndexingResult {
  IndexingProgress read = {};
  bool complete = true;  // false: stopped, to be gone on with
  // On the first rank alone:
  std::int64_t unchanged = 0, replaced = 0, removed = 0, empty = 0;
  std::int64_t documents = 0;  // that the index has now
  std::uint64_t bytes = 0;     // of their memories
};

/// Documents that the index has with the same title and text are not read again; one whose title or text is another is
/// replaced once it was read; one that is empty now is removed. The others are read from the longest text to the
/// shortest, side by side where they are short. `goes_on` is asked before every reading, and within long ones; where it
/// says no, what was read is written, and a later call reads the rest.
///
/// Collective: ranks read a share of the documents each and write it to the folder, which all of them see; the first
/// one writes everything else. Where one stops, all do when they meet next. Which documents are read side by side does
/// not depend on the number of ranks.
///
/// Throws what SearchCorpus and IndexWriter do, DataError on an empty document, naming the first, before any is read,
/// on one that changes meanwhile, and, before the index is
/// touched, on corpora with other ids on some rank, and ConfigError on a model that require_document_memory refuses.
IndexingResult read_into_index(const SearchCorpus& corpus, const std::filesystem::path& folder,
                               const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                               Communicator& communicator, const IndexingOptions& options,
                               const std::function<bool(const IndexingProgress&)>& goes_on = {});

struct RemovalResult {
  std::int64_t removed = 0, documents = 0;  // that the index has now
  std::vector<std::string> unknown;         // ids that it did not have
};

/// Removes documents, and reads none. What a kill leaves is the index as it was or as it will be; another call removes
/// the rest. By one process. Throws what IndexWriter does, and FileError on a folder without an index.
RemovalResult remove_from_index(const std::set<std::string>& ids, const std::filesystem::path& folder,
                                const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool);

}  // namespace palimpsest
