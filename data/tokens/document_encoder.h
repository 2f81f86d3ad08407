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
#include "data/text/hash_split.h"
#include "data/text/json_records.h"
#include "data/text/line_blocks.h"
#include "data/text/tokenizer.h"
#include "data/tokens/masked_text.h"
#include "data/tokens/round_trip.h"

namespace palimpsest {

struct EncodedDocument {
  std::string name;
  DocumentOrigin origin;
  EncodedText text;        // without tokens, where documents are only checked
  std::int64_t words = 0;  // of the text, like the bytes
  std::int64_t bytes = 0;
};

using EncodingResult = std::variant<EncodedDocument, CorpusProblem>;

/// Some of what a file gives: all, if it is a text.
struct EncodedPiece {
  std::size_t file = 0;     // its number
  std::uint64_t bytes = 0;  // of the file, that it was made of
  bool ends_file = true;    // nothing of the file follows
  std::vector<EncodingResult> documents = {};
};

struct EncoderOptions {
  int threads = 1;
  std::uint64_t bytes_in_flight = std::uint64_t{32} << 20;
  LineEnds line_ends = LineEnds::keep;
  RecordFormat records = {};
  std::optional<HashSplit> split_by = {};  // with the name of a split: of records, those that it gives to it
  std::string split = {};
};

/// A pipeline for one consumer. What its threads hold is limited in bytes of text, not in documents: a thread begins
/// the next file, or the next lines of a file of records, only when they fit beside everything that the consumer has
/// not taken yet, or when there is nothing else.
class DocumentEncoder {
 public:
  /// Starts the threads. Files and tokenizer must outlive it. Throws std::system_error when there can be no more
  /// threads.
  DocumentEncoder(std::span<const CorpusFile> files, const Tokenizer& tokenizer, EncoderOptions options);
  /// Waits for the documents that are being encoded.
  ~DocumentEncoder();
  DocumentEncoder(const DocumentEncoder&) = delete;
  DocumentEncoder& operator=(const DocumentEncoder&) = delete;

  /// The next piece; nothing when all files are read. Throws what reading or encoding it threw.
  std::optional<EncodedPiece> next();
  /// From now on documents are only checked: what they have for tokens is left out.
  void only_check() { only_check_ = true; }

 private:
  /// What a thread does in one go: a text file, or lines of a file of records.
  struct Task {
    std::size_t index = 0;  // in the order of pieces
    std::size_t file = 0;
    std::optional<LineBlock> lines = {};
    std::optional<std::variant<CorpusDocument, CorpusProblem>> text = {};  // of a compressed file
    bool ends_file = true;
    std::uint64_t held = 0;         // bytes of text
    std::uint64_t bytes = 0;        // of the file
    std::exception_ptr error = {};  // met when it was read
  };
  struct Result {
    std::variant<EncodedPiece, std::exception_ptr> piece;
    std::uint64_t held = 0;
  };

  void work();
  /// Waits for room. Nothing when there is no more to do.
  std::optional<Task> claim();
  bool has_room() const;
  /// The next lines of the file in turn, or its text, where only reading it tells how long it is. Read while others may
  /// take what is finished.
  Task read_next(std::unique_lock<std::mutex>& lock);
  void read_lines(const CorpusFile& file, Task& task);
  EncodedPiece encode(Task& task) const;
  EncodingResult encode_file(const CorpusFile& file, std::variant<CorpusDocument, CorpusProblem> text) const;
  void encode_lines(const CorpusFile& file, const LineBlock& lines, std::vector<EncodingResult>& results) const;
  EncodedDocument encode_document(std::string name, DocumentOrigin origin, const CorpusDocument& document) const;
  void stop();

  std::span<const CorpusFile> files_;
  const Tokenizer* tokenizer_;
  RoundTrip round_trip_;
  EncoderOptions options_;
  std::atomic<bool> only_check_ = false;

  std::mutex mutex_;
  std::condition_variable room_, done_;
  std::size_t file_ = 0;                    // in turn
  std::optional<LineBlocks> lines_;         // of this file
  std::uint64_t file_bytes_ = 0;            // taken of this file
  bool reading_ = false;                    // a thread reads
  std::size_t claimed_ = 0, taken_ = 0;     // pieces
  std::uint64_t held_ = 0;                  // bytes of the pieces between them
  std::map<std::size_t, Result> finished_;  // by piece
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace palimpsest
