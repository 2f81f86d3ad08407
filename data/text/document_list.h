// Documents named one by one: text files, and files of records with a `document` a line (data/text/json_records.h),
// either compressed or not. What is held of them does not grow with their number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/json_records.h"
#include "data/text/line_blocks.h"

namespace palimpsest {

/// Where a document is.
struct ListedDocument {
  std::filesystem::path path;
  std::string line = {};     // of a file of records; empty: the file is the document
  std::uint64_t offset = 0;  // of the line, in the file as it is when decompressed
};

/// Walks over the documents of some files: *.jsonl (.gz, .zst) are records, all others texts.
class DocumentList {
 public:
  /// Throws FileError on what is not there or no regular file.
  explicit DocumentList(std::vector<std::filesystem::path> paths);

  /// The next one; nothing behind the last. Throws FileError and DataError as LineBlocks does.
  std::optional<ListedDocument> next();

 private:
  std::vector<std::filesystem::path> paths_;
  std::size_t file_ = 0;             // of the next document
  std::optional<LineBlocks> lines_;  // of that file, where it is one of records
  std::string block_;                // lines read, from at_ on not handed out
  std::size_t at_ = 0;
  std::uint64_t offset_ = 0;  // of block_
};

/// Its text, and its summary where the list is one of pairs. Called by its record's id, else "pairs@1824" after the
/// file and the byte at which its line begins, or by the path of its file. Throws FileError and DataError, naming file
/// and line.
SummaryPair read_document(const ListedDocument& document, SummaryField summary, LineEnds line_ends = LineEnds::keep);

}  // namespace palimpsest
