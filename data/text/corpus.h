// Folders of text files, a document each, and of files of records (data/text/json_records.h), a document a line.
// Either in PG19's layout, with a folder for each of the splits train, validation and test that holds <id>.txt files
// (data/text/corpus_metadata.h reads its metadata.csv), or any folder: every such file in it and below, sorted by path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/text/document_origin.h"

namespace palimpsest {

/// Why a file gives no document.
struct CorpusProblem {
  enum class Kind { unreadable, empty, not_utf8, too_long };

  Kind kind = Kind::unreadable;
  std::string path;
  std::string reason;  // "not UTF-8: byte 0xE9 at offset 1234 (line 5)"
};

/// "unreadable", "empty", "not UTF-8", "too long".
std::string name_of(CorpusProblem::Kind kind);

/// *.txt: a document; *.jsonl: records, a document each. Both may be compressed, with .gz or .zst behind that.
enum class CorpusFormat { text, records };

struct CorpusFile {
  std::filesystem::path path;
  std::string name;            // the path below the folder, without ".txt", ".jsonl.gz" and the like
  std::uint64_t bytes = 0;     // 0 where they are not known
  DocumentOrigin origin = {};  // not known, unless read_corpus_metadata has told it
  CorpusFormat format = CorpusFormat::text;
  // Of records: the lines that begin in these bytes.
  std::uint64_t begin = 0, end = std::numeric_limits<std::uint64_t>::max();
};

inline bool is_records(const CorpusFile& file) { return file.format == CorpusFormat::records; }

struct CorpusListing {
  std::vector<CorpusFile> files;        // sorted by name
  std::vector<CorpusProblem> problems;  // folders that cannot be listed
};

/// Bytes [begin, end) of a text.
struct TextSpan {
  std::int64_t begin = 0, end = 0;

  bool operator==(const TextSpan&) const = default;
};

struct CorpusDocument {
  std::string text;  // valid UTF-8
  std::int64_t words = 0;
  std::vector<TextSpan> masked = {};  // read, not predicted; whole characters, ascending, none empty, none meet
};

/// Of a document's text, masked or not as a whole.
struct TextPart {
  std::string_view text;
  bool masked = false;
};

/// One after the other, none empty.
std::vector<TextPart> parts_of(const CorpusDocument& document);

/// The splits of PG19's layout that `folder` has, in the order train, validation, test; none for
/// any other folder. Throws FileError when it is not a folder that can be read.
std::vector<std::string> corpus_splits(const std::filesystem::path& folder);

/// What of a corpus is listed: files that are a document as they are, or all that `pack` can read.
enum class CorpusKinds { plain_texts, all };

/// Links to files are followed, links to folders are not. Throws
/// FileError when `folder` is not a folder that can be read.
CorpusListing list_corpus(const std::filesystem::path& folder, CorpusKinds kinds = CorpusKinds::plain_texts);

/// A corpus of one file. Throws DataError when its name says that it is neither a text nor records.
CorpusListing list_file(const std::filesystem::path& path);

/// So many bytes may a document or a prompt have: text and tokens are held in memory as a whole.
inline constexpr std::uint64_t longest_text = std::uint64_t{1} << 30;

/// What is left of a stream; nothing when it is longer than `limit` bytes, of which hardly more are read.
std::optional<std::string> read_text(std::istream& stream, std::uint64_t limit = longest_text);

/// How lines end in what is read: as they are, or in a line feed alone where they end in carriage return and line feed.
enum class LineEnds { keep, lf };

/// Those before a line feed.
void drop_carriage_returns(std::string& text);

/// A file's text, or why it has none: not a regular file, not readable, too long, without a single word, not UTF-8.
/// Throws FileError over compressed data that is damaged.
std::variant<CorpusDocument, CorpusProblem> read_corpus_file(const std::filesystem::path& path,
                                                             std::uint64_t limit = longest_text,
                                                             LineEnds line_ends = LineEnds::keep);

}  // namespace palimpsest
