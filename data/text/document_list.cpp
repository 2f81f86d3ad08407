#include "data/text/document_list.h"

#include <algorithm>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "core/white_space.h"
#include "data/text/compressed_input.h"
#include "data/text/corpus.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;
constexpr std::string_view records_ending = ".jsonl";

/// The name without .gz or .zst.
fs::path without_compression(const fs::path& path) {
  return compression_of(path) == Compression::none ? path : path.parent_path() / path.stem();
}

bool has_records(const fs::path& path) { return without_compression(path).extension() == records_ending; }

}  // namespace

DocumentList::DocumentList(std::vector<fs::path> paths) : paths_(std::move(paths)) {
  for (const fs::path& path : paths_) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) throw FileError(fmt::format("{}: is not there", path.string()));
    if (!fs::is_regular_file(status)) throw FileError(fmt::format("{}: is no file", path.string()));
  }
}

std::optional<ListedDocument> DocumentList::next() {
  for (; file_ < paths_.size(); ++file_) {
    const fs::path& path = paths_[file_];
    if (!has_records(path)) return ListedDocument{paths_[file_++]};
    if (!lines_) lines_.emplace(path, 0, std::numeric_limits<std::uint64_t>::max(), block_bytes, longest_text);
    for (;;) {
      while (at_ < block_.size()) {
        const std::size_t begin = at_, end = std::min(block_.find('\n', begin), block_.size());
        at_ = std::min(end + 1, block_.size());
        std::string line = block_.substr(begin, end - begin);
        if (!is_blank(line)) return ListedDocument{path, std::move(line), offset_ + begin};
      }
      std::optional<LineBlock> block = lines_->next();
      if (!block) break;
      block_ = std::move(block->text);
      offset_ = block->offset;
      at_ = 0;
    }
    lines_.reset();
    block_.clear();
    at_ = 0;
  }
  return std::nullopt;
}

SummaryPair read_document(const ListedDocument& document, SummaryField summary, LineEnds line_ends) {
  const std::string path = document.path.string();
  if (document.line.empty()) {
    if (summary == SummaryField::required) {
      throw DataError(fmt::format("{}: is a text, expected *.jsonl with a document and a summary a line", path));
    }
    auto read = read_corpus_file(document.path, longest_text, line_ends);
    if (const auto* problem = std::get_if<CorpusProblem>(&read)) {
      throw DataError(fmt::format("{}: {}", path, problem->reason));
    }
    return {path, std::move(std::get<CorpusDocument>(read).text), {}};
  }
  const auto parse = [&](const std::string& where) {
    return parse_summary_pair(document.line, where, summary, line_ends, document.path.parent_path());
  };
  SummaryPair pair;
  try {
    pair = parse(path);
  } catch (const Error&) {  // only then it is worth while to count lines
    pair = parse(fmt::format("{}: line {}", path, line_at(document.path, document.offset)));
  }
  if (pair.id.empty()) {
    const fs::path name = without_compression(document.path).stem();
    pair.id = fmt::format("{}@{}", name.string(), document.offset);
  }
  return pair;
}

}  // namespace palimpsest
