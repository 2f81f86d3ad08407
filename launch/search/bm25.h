// Full-text search by BM25 (Robertson, Walker, Jones, Hancock-Beaulieu and Gatford, "Okapi at TREC-3", 1994), in a
// database of Xapian. Words are Xapian's: letters and digits of any script, in lower case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "launch/measures/trec_files.h"

namespace palimpsest {

struct Bm25Options {
  double k1 = 0.9, b = 0.4;  // Anserini's, with which BEIR's figures were made
};

/// Throws ConfigError naming the option whose value cannot be.
void check(const Bm25Options& options);

class Bm25Index {
 public:
  static constexpr std::size_t longest_kept = std::size_t{16} << 20;  // bytes

  /// Opens the database in a folder, which `to_create` makes if there is none. `stemmer`: the language whose endings
  /// Xapian takes off words, "none" for none. Throws ConfigError on a language that it does not know, FileError when
  /// the database cannot be read or is damaged, and WriteError when another process writes to it.
  static Bm25Index to_create(const std::filesystem::path& folder, const std::string& stemmer);
  static Bm25Index to_write(const std::filesystem::path& folder, const std::string& stemmer);
  static Bm25Index to_read(const std::filesystem::path& folder, const std::string& stemmer);
  Bm25Index(Bm25Index&&) noexcept;
  ~Bm25Index();

  /// Replaces or adds the document, which is found by the words of `text`, and keeps `kept` of it unless that is longer
  /// than longest_kept; nothing where `remove` knows none. Both are on disk after `commit`, and together; what was not
  /// committed is not there after `cancel`, or when this goes.
  void put(const std::string& id, const std::string& text, const std::string& kept);
  void remove(const std::string& id);
  void commit();
  void cancel();
  std::vector<std::string> ids() const;
  /// What `put` was to keep of a document; empty also where there is none, and in an index of before that was kept.
  std::string kept(const std::string& id) const;
  /// The words of a text, each once, as the index has them: in lower case, and without their endings if it is so.
  std::set<std::string> words_of(const std::string& text) const;

  /// At most `count` documents that have a word of the query, the best first; a word counts as often as the query has
  /// it.
  std::vector<RankedDocument> search(const std::string& query, std::int64_t count, const Bm25Options& options) const;

 private:
  struct Database;
  static Bm25Index to_change(const std::filesystem::path& folder, const std::string& stemmer, int mode);
  explicit Bm25Index(std::unique_ptr<Database> database);

  std::unique_ptr<Database> database_;
};

}  // namespace palimpsest
