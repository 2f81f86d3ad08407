#include "launch/search/indexing.h"

#include <set>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"
#include "launch/inference/generator.h"
#include "launch/search/document_memory.h"

namespace palimpsest {

namespace {

/// What has to be done to an index so that it has the corpus.
struct Work {
  std::vector<std::int64_t> to_read;  // numbers of documents
  std::set<std::string> kept, emptied;
  std::int64_t empty = 0;
};

Work plan(const SearchCorpus& corpus, const std::map<std::string, std::string>& known, bool skip_empty) {
  Work work;
  std::string first;
  for (std::int64_t i = 0; i < corpus.size(); ++i) {
    const SearchDocument document = corpus.document(i);
    if (document.whole_text().find_first_not_of(" \t\n\v\f\r") == std::string::npos) {
      if (++work.empty == 1) first = fmt::format("{}: document {}", corpus.place(i), printable(document.id));
      if (known.contains(document.id)) work.emptied.insert(document.id);
      continue;
    }
    work.kept.insert(document.id);
    const auto found = known.find(document.id);
    if (found != known.end() && found->second == hash_of(document)) continue;
    work.to_read.push_back(i);
  }
  if (work.empty > 0 && !skip_empty) {
    throw DataError(fmt::format("{} is empty{}: expected a text, or --skip-empty", first,
                                work.empty > 1 ? fmt::format(", and so are {} more", work.empty - 1) : ""));
  }
  if (work.kept.empty()) throw DataError("all documents are empty");
  return work;
}

}  // namespace

IndexingResult read_into_index(const SearchCorpus& corpus, const std::filesystem::path& folder,
                               const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                               const IndexingOptions& options,
                               const std::function<bool(const IndexingProgress&)>& goes_on) {
  require_document_memory(model);
  require_vocabulary(model, tokenizer);
  IndexWriter writer(folder, model, tokenizer, pool, options.index);
  const Work work = plan(corpus, writer.documents(), options.skip_empty);
  IndexingResult result;
  result.empty = work.empty;
  result.unchanged = static_cast<std::int64_t>(work.kept.size() - work.to_read.size());
  std::set<std::string> removed = work.emptied;
  if (options.prune) {
    for (const auto& [id, hash] : writer.documents()) {
      if (!work.kept.contains(id)) removed.insert(id);
    }
  }
  result.removed = static_cast<std::int64_t>(removed.size());
  if (!removed.empty()) writer.remove(removed);
  result.read.all = static_cast<std::int64_t>(work.to_read.size());
  for (const std::int64_t number : work.to_read) {
    const SearchDocument document = corpus.document(number);
    std::vector<std::int32_t> tokens = tokenizer.encode(document.whole_text());
    tokens.insert(tokens.begin(), tokenizer.begin_id());
    bool whole = true;
    const SequenceState memory =
        read_document(model, pool, tokens, [&] { return whole = !goes_on || goes_on(result.read); });
    // A document of which the end was read counts, even if that was the time to stop.
    if (memory.tokens.front() == static_cast<std::int64_t>(tokens.size())) {
      result.replaced += writer.documents().contains(document.id);
      writer.put(document, memory.tokens.front(), memory);
      ++result.read.documents;
      result.read.tokens += memory.tokens.front();
    }
    if (!whole) break;
  }
  writer.flush();
  result.complete = result.read.documents == result.read.all;
  result.documents = static_cast<std::int64_t>(writer.documents().size());
  return result;
}

}  // namespace palimpsest
