#include "launch/search/document_reader.h"

#include <utility>

#include "launch/search/document_memory.h"

namespace palimpsest {

namespace {

/// A run holds so many documents or bytes of text, unless a document is longer: few enough that ranks have equally
/// much to do, and enough to find some of about one length.
constexpr std::size_t run_documents = 64;
constexpr std::int64_t run_bytes = std::int64_t{128} << 10;

}  // namespace

DocumentReader::DocumentReader(const SearchCorpus& corpus, const LanguageModel& model, const Tokenizer& tokenizer,
                               MemoryPool& pool, const std::vector<std::int64_t>& numbers,
                               const std::vector<std::int64_t>& bytes, std::int64_t most,
                               const Communicator& communicator)
    : corpus_(corpus), model_(model), tokenizer_(tokenizer), pool_(pool), most_(most) {
  std::int64_t run = -1, in_run = 0;
  std::size_t documents = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (run < 0 || documents == run_documents || in_run + bytes[i] > run_bytes) {
      ++run;
      in_run = 0;
      documents = 0;
      if (run % communicator.size() == communicator.rank()) runs_.emplace_back();
    }
    ++documents;
    in_run += bytes[i];
    if (run % communicator.size() == communicator.rank()) runs_.back().emplace_back(numbers[i], bytes[i]);
  }
}

void DocumentReader::encode(const Run& run) {
  std::vector<Waiting> all;
  std::vector<std::int64_t> lengths;
  for (const auto& [number, bytes] : run) {
    const SearchDocument document = corpus_.document(number);
    std::vector<std::int32_t> tokens = tokenizer_.encode(document.whole_text());
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    lengths.push_back(static_cast<std::int64_t>(tokens.size()));
    all.push_back({number, bytes, {document.id, document.title, hash_of(document), lengths.back()}, std::move(tokens)});
  }
  for (const std::vector<std::size_t>& places : side_by_side(model_, lengths, most_)) {
    std::vector<Waiting>& group = groups_.emplace_back();
    for (const std::size_t place : places) group.push_back(std::move(all[place]));
  }
}

std::int64_t DocumentReader::next() {
  if (groups_.empty()) {
    encode(runs_.front());
    runs_.pop_front();
  }
  return static_cast<std::int64_t>(groups_.front().size());
}

ReadDocuments DocumentReader::read(const std::function<bool()>& goes_on) {
  const bool alone = next() == 1;
  std::vector<Waiting>& group = groups_.front();
  ReadDocuments read;
  if (alone) {
    const std::vector<std::int32_t>& tokens = group.front().tokens;
    read.memories = read_document(model_, pool_, tokens, goes_on);
    // A document of which the end was read counts, even if that was the time to stop.
    if (read.memories.tokens.front() != static_cast<std::int64_t>(tokens.size())) return {};
  } else {
    std::vector<std::vector<std::int32_t>> tokens;
    tokens.reserve(group.size());
    for (Waiting& waiting : group) tokens.push_back(std::move(waiting.tokens));
    read.memories = read_documents(model_, pool_, tokens);
  }
  for (Waiting& waiting : group) {
    read.numbers.push_back(waiting.number);
    read.bytes.push_back(waiting.bytes);
    read.documents.push_back(std::move(waiting.document));
  }
  groups_.pop_front();
  return read;
}

}  // namespace palimpsest
