// Reads and encodes the documents of a corpus on several threads and hands them over in the corpus's order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "data/text/corpus.h"
#include "data/text/tokenizer.h"
#include "data/tokens/round_trip.h"

namespace palimpsest {

struct EncodedDocument {
  std::vector<std::int32_t> tokens;  // without begin and end token
  std::int64_t words = 0;            // of the text, like the bytes
  std::int64_t bytes = 0;
  std::optional<std::string> difference;  // the first one between the text and what the tokens give back
};

/// A pipeline for one consumer. What its threads hold is limited in bytes of text, not in documents: a thread begins
/// the next file only when that fits beside everything that the consumer has not taken yet, or when there is nothing
/// else.
class DocumentEncoder {
 public:
  /// Starts `threads` threads. Files and tokenizer must outlive it. Throws std::system_error when there can be no more
  /// threads.
  DocumentEncoder(std::span<const CorpusFile> files, const Tokenizer& tokenizer, int threads,
                  std::uint64_t bytes_in_flight, LineEnds line_ends = LineEnds::keep);
  /// Waits for the documents that are being encoded.
  ~DocumentEncoder();
  DocumentEncoder(const DocumentEncoder&) = delete;
  DocumentEncoder& operator=(const DocumentEncoder&) = delete;

  /// What the next file gives: call it once for each of them. Throws what reading or encoding it threw.
  std::variant<EncodedDocument, CorpusProblem> next();
  /// From now on files are only checked: what documents have for tokens is left out.
  void only_check() { only_check_ = true; }

 private:
  using Result = std::variant<EncodedDocument, CorpusProblem, std::exception_ptr>;

  void work();
  std::optional<std::size_t> claim();
  Result encode(const CorpusFile& file) const;
  void stop();

  std::span<const CorpusFile> files_;
  const Tokenizer* tokenizer_;
  RoundTrip round_trip_;
  std::uint64_t bytes_in_flight_;
  LineEnds line_ends_;
  std::atomic<bool> only_check_ = false;

  std::mutex mutex_;
  std::condition_variable room_, done_;
  std::size_t claimed_ = 0, taken_ = 0;     // files
  std::uint64_t held_ = 0;                  // bytes of the files between them
  std::map<std::size_t, Result> finished_;  // by file
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace palimpsest
