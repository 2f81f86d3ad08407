// What packing has found and done, as a value that can be stored, sent and added up.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/text/corpus.h"

namespace palimpsest {

/// A document whose tokens do not give its text back.
struct LossyDocument {
  std::string name;
  std::string difference;  // the first one: "byte 12 (line 1): \"\x0Anext\" comes back as \" next\""
};

/// So many documents are named where something is wrong with more.
inline constexpr std::size_t named_documents = 20;

struct PackReport {
  std::int64_t files = 0;  // found
  std::int64_t files_read = 0;
  std::uint64_t bytes_found = 0;  // in these files
  std::uint64_t bytes_read = 0;
  std::int64_t documents = 0;
  std::int64_t words = 0;
  std::int64_t bytes = 0;
  std::int64_t tokens = 0;          // begin and end tokens included
  std::int64_t unknown_tokens = 0;  // text that the tokenizer cannot express
  std::vector<CorpusProblem> problems;
  std::int64_t lossy_documents = 0;
  std::vector<LossyDocument> lossy;  // the first of them, named_documents at most

  /// Adds what was found in other files.
  void add(const PackReport& other);
};

/// As CBOR, in which names may be any bytes.
std::string to_bytes(const PackReport& report);
/// Throws DataError.
PackReport report_from_bytes(std::string_view bytes);

}  // namespace palimpsest
