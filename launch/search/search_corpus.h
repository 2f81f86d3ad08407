// The documents that a search looks through.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace palimpsest {

struct SearchDocument {
  std::string id, title, text;  // valid UTF-8; the title may be empty

  /// The title, if there is one, in a line of its own before the text.
  std::string whole_text() const { return title.empty() ? text : title + '\n' + text; }
};

/// A file in BEIR's form, of which all is held in memory, or a folder, of which one text is at a time.
class SearchCorpus {
 public:
  /// A file with a JSON object a line, "_id", "text" and perhaps "title"; or a folder, whose *.txt files, in it and
  /// below, are the documents, called by their path there without ".txt". Throws FileError, starting with path and
  /// line, on what cannot be read; DataError on no documents and on an id given twice.
  explicit SearchCorpus(const std::filesystem::path& path);

  std::int64_t size() const { return static_cast<std::int64_t>(documents_.size()); }
  /// Its text may be empty. Throws FileError when the file cannot be read any more or is not UTF-8, and DataError on a
  /// number that no document has.
  SearchDocument document(std::int64_t index) const;
  /// Where it stands: "corpus.jsonl:17", or a path.
  const std::string& place(std::int64_t index) const { return places_[static_cast<std::size_t>(index)]; }
  const std::string& id(std::int64_t index) const { return documents_[static_cast<std::size_t>(index)].id; }

 private:
  void read_lines(const std::filesystem::path& path);
  void list_folder(const std::filesystem::path& path);

  bool folder_;
  std::vector<SearchDocument> documents_;  // of a folder without their texts
  std::vector<std::string> places_;
};

}  // namespace palimpsest
