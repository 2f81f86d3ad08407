#include "launch/search/indexing.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "launch/inference/generator.h"
#include "launch/output/progress.h"
#include "launch/search/document_memory.h"
#include "launch/search/document_reader.h"

namespace palimpsest {

namespace {

/// What has to be done to an index so that it has the corpus.
struct Work {
  std::vector<std::int64_t> to_read;  // numbers of documents, those with the longest text first
  std::vector<std::int64_t> bytes;    // of their texts
  std::set<std::string> kept, emptied;
  std::int64_t empty = 0;
};

Work plan(const SearchCorpus& corpus, const std::map<std::string, std::string>& known, bool skip_empty) {
  Work work;
  std::string first;
  std::vector<std::pair<std::int64_t, std::int64_t>> to_read;  // bytes, number
  for (std::int64_t i = 0; i < corpus.size(); ++i) {
    const SearchDocument document = corpus.document(i);
    const std::string text = document.whole_text();
    if (is_blank(text)) {
      if (++work.empty == 1) first = fmt::format("{}: document {}", corpus.place(i), printable(document.id));
      if (known.contains(document.id)) work.emptied.insert(document.id);
      continue;
    }
    work.kept.insert(document.id);
    const auto found = known.find(document.id);
    if (found != known.end() && found->second == hash_of(document)) continue;
    to_read.emplace_back(static_cast<std::int64_t>(text.size()), i);
  }
  if (work.empty > 0 && !skip_empty) {
    throw DataError(fmt::format("{} is empty{}: expected a text, or --skip-empty", first,
                                work.empty > 1 ? fmt::format(", and so are {} more", work.empty - 1) : ""));
  }
  if (work.kept.empty()) throw DataError("all documents are empty");
  std::ranges::stable_sort(to_read, std::greater<>(), &std::pair<std::int64_t, std::int64_t>::first);
  for (const auto& [bytes, number] : to_read) {
    work.to_read.push_back(number);
    work.bytes.push_back(bytes);
  }
  return work;
}

/// Collective. Documents are dealt out by their numbers, which have to mean the same on every rank.
void require_same_corpus(const SearchCorpus& corpus, Communicator& communicator) {
  FileHash hash;
  for (std::int64_t i = 0; i < corpus.size(); ++i) {
    hash.update(std::as_bytes(std::span(corpus.id(i))));
    hash.update(std::as_bytes(std::span("")));  // a zero between two
  }
  const std::string first = broadcast_text(communicator, fmt::format("{} {}", corpus.size(), hash.digest()), 0);
  const std::int64_t of_first = std::stoll(first);
  agree<DataError>(communicator, [&] {
    if (first == fmt::format("{} {}", corpus.size(), hash.digest())) return;
    throw DataError(fmt::format("the corpus has {}, {}: expected the same on every rank",
                                format_plural(corpus.size(), "document"),
                                of_first == corpus.size() ? "and the first rank's has others"
                                                          : fmt::format("that of the first rank {}", of_first)));
  });
}

/// What a rank has read when the ranks meet, and whether it reads on.
struct Report {
  std::string file, hash;             // of its shard; empty: it has none
  std::vector<std::int64_t> numbers;  // of the documents in it
  std::int64_t tokens = 0, bytes = 0;
  bool stopped = false, left = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Report, file, hash, numbers, tokens, bytes, stopped, left)

std::vector<Report> meet(const Report& mine, Communicator& communicator) {
  const std::string text = nlohmann::json(mine).dump();
  std::vector<Report> all;
  for (const std::vector<std::byte>& bytes : communicator.all_gather(std::as_bytes(std::span(text)))) {
    const std::span<const char> characters(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    all.push_back(nlohmann::json::parse(characters.begin(), characters.end()).get<Report>());
  }
  return all;
}

/// Reads until a shard is full, or `goes_on` says no.
Report read_shard_of(DocumentReader& reader, const std::function<bool(const Report&)>& goes_on,
                     const IndexOptions& options, const std::filesystem::path& folder, std::int64_t number,
                     MemoryPool& pool) {
  constexpr std::int64_t most_bytes = std::int64_t{64} << 20;  // held in memory
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  Report report;
  std::vector<IndexedDocument> documents;
  std::vector<SequenceState> memories;
  std::int64_t held = 0;
  while (!reader.done() && held < most_bytes &&
         std::chrono::duration<double>(Clock::now() - begin).count() < options.shard_seconds) {
    const auto in_shard = static_cast<std::int64_t>(documents.size());
    if (in_shard > 0 && in_shard + reader.next() > options.shard_documents) break;
    const auto ask = [&] {
      report.stopped = report.stopped || !goes_on(report);
      return !report.stopped;
    };
    if (!ask()) break;
    ReadDocuments read = reader.read(ask);
    for (std::size_t i = 0; i < read.numbers.size(); ++i) {
      report.numbers.push_back(read.numbers[i]);
      report.tokens += read.documents[i].tokens;
      report.bytes += read.bytes[i];
      documents.push_back(std::move(read.documents[i]));
    }
    read.memories.for_each(
        [&](const std::string&, const Tensor& tensor) { held += static_cast<std::int64_t>(tensor.bytes()); });
    if (!read.numbers.empty()) memories.push_back(std::move(read.memories));
    if (report.stopped) break;
  }
  report.left = !reader.done();
  if (documents.empty()) return report;
  const IndexShard shard = write_shard(folder, number, std::move(documents), memories, options.type, pool);
  report.file = shard.file;
  report.hash = shard.hash;
  return report;
}

/// Puts what the ranks have read into the index. Returns how many documents were there before, as others.
std::int64_t add_shards(IndexWriter& writer, const std::vector<Report>& reports, const SearchCorpus& corpus,
                        const std::filesystem::path& folder) {
  std::vector<IndexShard> shards;
  std::vector<const Report*> of;
  std::int64_t replaced = 0;
  for (const Report& report : reports) {
    if (report.file.empty()) continue;
    shards.push_back(open_shard(folder, report.file, report.hash));
    of.push_back(&report);
    for (const IndexedDocument& document : shards.back().documents) {
      replaced += writer.documents().contains(document.id) ? 1 : 0;
    }
  }
  writer.add(shards, [&](std::size_t shard, std::size_t place) {
    const std::int64_t number = of[shard]->numbers[place];
    SearchDocument document = corpus.document(number);
    if (document.id != shards[shard].documents[place].id || hash_of(document) != shards[shard].documents[place].hash) {
      throw DataError(
          fmt::format("{}: document {} is not what was read a moment ago: expected a corpus that does not "
                      "change, the same on every rank",
                      corpus.place(number), printable(document.id)));
    }
    return document;
  });
  return replaced;
}

}  // namespace

IndexingResult read_into_index(const SearchCorpus& corpus, const std::filesystem::path& folder,
                               const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                               Communicator& communicator, const IndexingOptions& options,
                               const std::function<bool(const IndexingProgress&)>& goes_on) {
  require_document_memory(model);
  require_vocabulary(model, tokenizer);
  require_same_corpus(corpus, communicator);
  IndexingResult result;
  std::optional<IndexWriter> writer;
  nlohmann::json to_read, bytes;
  if (communicator.is_root()) {
    writer.emplace(folder, model, tokenizer, pool, options.index);
    const Work work = plan(corpus, writer->documents(), options.skip_empty);
    std::set<std::string> changed;
    for (const std::int64_t number : work.to_read) changed.insert(corpus.id(number));
    writer->require_whole_shards(changed);  // before hours of reading
    result.empty = work.empty;
    result.unchanged = static_cast<std::int64_t>(work.kept.size() - work.to_read.size());
    std::set<std::string> removed = work.emptied;
    if (options.prune) {
      for (const auto& [id, hash] : writer->documents()) {
        if (!work.kept.contains(id)) removed.insert(id);
      }
    }
    result.removed = static_cast<std::int64_t>(removed.size());
    if (!removed.empty()) writer->remove(removed);
    to_read = work.to_read;
    bytes = work.bytes;
  }
  const auto told = nlohmann::json::parse(broadcast_text(communicator, nlohmann::json{to_read, bytes}.dump(), 0));
  DocumentReader reader(corpus, model, tokenizer, pool, told.at(0), told.at(1), options.index.shard_documents,
                        communicator);
  result.read.all = static_cast<std::int64_t>(told.at(0).size());
  for (const nlohmann::json& of_one : told.at(1)) result.read.all_bytes += of_one.get<std::int64_t>();
  for (bool more = result.read.all > 0; more;) {
    std::int64_t number = writer ? writer->reserve_shards(communicator.size()) : 0;
    communicator.all_reduce_max(std::span(&number, 1));
    const auto asked = [&](const Report& mine) {
      IndexingProgress now = result.read;
      now.documents += static_cast<std::int64_t>(mine.numbers.size());
      now.tokens += mine.tokens;
      now.bytes += mine.bytes;
      return !goes_on || goes_on(now);
    };
    const std::vector<Report> reports =
        meet(read_shard_of(reader, asked, options.index, folder, number + communicator.rank(), pool), communicator);
    if (writer) result.replaced += add_shards(*writer, reports, corpus, folder);
    more = false;
    bool stopped = false;
    for (const Report& report : reports) {
      result.read.documents += static_cast<std::int64_t>(report.numbers.size());
      result.read.tokens += report.tokens;
      result.read.bytes += report.bytes;
      more = more || report.left;
      stopped = stopped || report.stopped;
    }
    more = more && !stopped;
  }
  result.complete = result.read.documents == result.read.all;
  if (!writer) return result;
  result.documents = static_cast<std::int64_t>(writer->documents().size());
  for (const IndexShard& shard : writer->manifest().shards) result.bytes += shard.bytes;
  return result;
}

RemovalResult remove_from_index(const std::set<std::string>& ids, const std::filesystem::path& folder,
                                const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool) {
  const IndexManifest found = read_index(folder);
  IndexWriter writer(folder, model, tokenizer, pool, {.type = found.type, .stemmer = found.stemmer});
  RemovalResult result;
  std::set<std::string> there;
  for (const std::string& id : ids) {
    if (writer.documents().contains(id)) {
      there.insert(id);
    } else {
      result.unknown.push_back(id);
    }
  }
  if (!there.empty()) writer.remove(there);
  result.removed = static_cast<std::int64_t>(there.size());
  result.documents = static_cast<std::int64_t>(writer.documents().size());
  return result;
}

}  // namespace palimpsest
