// The documents of a corpus that one rank reads, side by side where they are short.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "core/comm/communicator.h"
#include "data/text/tokenizer.h"
#include "launch/search/memory_index.h"
#include "launch/search/search_corpus.h"

namespace palimpsest {

struct ReadDocuments {
  std::vector<std::int64_t> numbers, bytes;  // in the corpus; of their texts
  std::vector<IndexedDocument> documents;
  SequenceState memories;  // lane i of document i
};

class DocumentReader {
 public:
  /// `numbers`: the documents that all ranks read together, `bytes` the lengths of their texts, best in order. They are
  /// cut into runs, which the ranks take in turn; those that are read side by side, at most `most`, are of one run.
  DocumentReader(const SearchCorpus& corpus, const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                 const std::vector<std::int64_t>& numbers, const std::vector<std::int64_t>& bytes, std::int64_t most,
                 const Communicator& communicator);

  bool done() const { return runs_.empty() && groups_.empty(); }
  /// How many documents `read` reads; unless done. Throws what SearchCorpus::document does.
  std::int64_t next();
  /// The next documents, unless done. `goes_on` is asked within long ones; where it says no before the end, there are
  /// none, and the document is still to be read. Throws what `next` does.
  ReadDocuments read(const std::function<bool()>& goes_on);

 private:
  struct Waiting {
    std::int64_t number, bytes;
    IndexedDocument document;
    std::vector<std::int32_t> tokens;
  };
  using Run = std::vector<std::pair<std::int64_t, std::int64_t>>;  // numbers and bytes

  void encode(const Run& run);

  const SearchCorpus& corpus_;
  const LanguageModel& model_;
  const Tokenizer& tokenizer_;
  MemoryPool& pool_;
  std::int64_t most_;
  std::deque<Run> runs_;
  std::deque<std::vector<Waiting>> groups_;  // of the run in hand
};

}  // namespace palimpsest
