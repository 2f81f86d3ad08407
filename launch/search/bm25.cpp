#include "launch/search/bm25.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <xapian.h>

#include "core/error.h"
#include "core/io/file_hash.h"

namespace palimpsest {

namespace {

/// A term that no word is, since words are in lower case, and short however long the id is.
std::string term_of(const std::string& id) {
  FileHash hash;
  hash.update(std::as_bytes(std::span(id)));
  return "Q" + hash.digest();
}

// Where a document keeps its id; its data are what is kept of it. Without this value the data are the id, as it was
// first.
constexpr Xapian::valueno id_slot = 0;

std::string id_of(const Xapian::Document& document) {
  std::string id = document.get_value(id_slot);
  return id.empty() ? document.get_data() : id;
}

/// What it returns; Xapian's exceptions, which are no std::exception, become ours.
template <class Work>
auto told(const std::filesystem::path& folder, const Work& work) {
  try {
    return work();
  } catch (const Xapian::DatabaseLockError&) {
    throw WriteError(fmt::format("{}: another process writes to this index", folder.string()));
  } catch (const Xapian::InvalidArgumentError& error) {
    throw ConfigError(fmt::format("{}: {}", folder.string(), error.get_msg()));
  } catch (const Xapian::Error& error) {
    throw FileError(fmt::format("{}: cannot be used: {}", folder.string(), error.get_description()));
  }
}

}  // namespace

void check(const Bm25Options& options) {
  if (!(options.k1 >= 0 && std::isfinite(options.k1))) {
    throw ConfigError(fmt::format("--k1 is {}: expected a finite number from 0", options.k1));
  }
  if (!(options.b >= 0 && options.b <= 1)) {
    throw ConfigError(fmt::format("--b is {}: expected a number between 0 and 1", options.b));
  }
}

struct Bm25Index::Database {
  std::filesystem::path folder;
  Xapian::TermGenerator words;
  Xapian::Database reader;
  Xapian::WritableDatabase writer;  // where it was opened to write
  bool changing = false;            // in a transaction of the writer

  Database(const std::filesystem::path& path, const std::string& stemmer) : folder(path) {
    words.set_stemmer(Xapian::Stem(stemmer));
    words.set_stemming_strategy(stemmer == "none" ? Xapian::TermGenerator::STEM_NONE : Xapian::TermGenerator::STEM_ALL);
  }
  void begin_change() {
    if (!changing) writer.begin_transaction();
    changing = true;
  }
  Xapian::Document document_of(const std::string& text) const {
    Xapian::TermGenerator generator = words;
    Xapian::Document document;
    generator.set_document(document);
    generator.index_text_without_positions(text);
    return document;
  }
};

Bm25Index::Bm25Index(std::unique_ptr<Database> database) : database_(std::move(database)) {}
Bm25Index::Bm25Index(Bm25Index&&) noexcept = default;
Bm25Index::~Bm25Index() = default;

Bm25Index Bm25Index::to_create(const std::filesystem::path& folder, const std::string& stemmer) {
  return to_change(folder, stemmer, Xapian::DB_CREATE_OR_OPEN);
}

Bm25Index Bm25Index::to_write(const std::filesystem::path& folder, const std::string& stemmer) {
  return to_change(folder, stemmer, Xapian::DB_OPEN);
}

Bm25Index Bm25Index::to_change(const std::filesystem::path& folder, const std::string& stemmer, int mode) {
  return told(folder, [&] {
    auto database = std::make_unique<Database>(folder, stemmer);
    database->writer = Xapian::WritableDatabase(folder.string(), mode);
    database->reader = database->writer;
    return Bm25Index(std::move(database));
  });
}

Bm25Index Bm25Index::to_read(const std::filesystem::path& folder, const std::string& stemmer) {
  return told(folder, [&] {
    auto database = std::make_unique<Database>(folder, stemmer);
    database->reader = Xapian::Database(folder.string());
    return Bm25Index(std::move(database));
  });
}

void Bm25Index::put(const std::string& id, const std::string& text, const std::string& kept) {
  told(database_->folder, [&] {
    Xapian::Document document = database_->document_of(text);
    document.add_value(id_slot, id);
    if (kept.size() <= longest_kept) document.set_data(kept);
    const std::string term = term_of(id);
    document.add_boolean_term(term);
    database_->begin_change();
    database_->writer.replace_document(term, document);
  });
}

void Bm25Index::remove(const std::string& id) {
  told(database_->folder, [&] {
    database_->begin_change();
    database_->writer.delete_document(term_of(id));
  });
}

void Bm25Index::commit() {
  if (!std::exchange(database_->changing, false)) return;
  told(database_->folder, [&] { database_->writer.commit_transaction(); });
}

void Bm25Index::cancel() {
  if (!std::exchange(database_->changing, false)) return;
  told(database_->folder, [&] { database_->writer.cancel_transaction(); });
}

std::vector<std::string> Bm25Index::ids() const {
  return told(database_->folder, [&] {
    std::vector<std::string> ids;
    const Xapian::Database& reader = database_->reader;
    for (auto document = reader.postlist_begin(""); document != reader.postlist_end(""); ++document) {
      ids.push_back(id_of(reader.get_document(*document)));
    }
    return ids;
  });
}

std::string Bm25Index::kept(const std::string& id) const {
  return told(database_->folder, [&]() -> std::string {
    const std::string term = term_of(id);
    const auto found = database_->reader.postlist_begin(term);
    if (found == database_->reader.postlist_end(term)) return {};
    const Xapian::Document document = database_->reader.get_document(*found);
    return document.get_value(id_slot).empty() ? std::string() : document.get_data();
  });
}

std::set<std::string> Bm25Index::words_of(const std::string& text) const {
  return told(database_->folder, [&] {
    const Xapian::Document document = database_->document_of(text);
    return std::set<std::string>(document.termlist_begin(), document.termlist_end());
  });
}

std::vector<RankedDocument> Bm25Index::search(const std::string& query, std::int64_t count,
                                              const Bm25Options& options) const {
  check(options);
  return told(database_->folder, [&] {
    std::vector<Xapian::Query> words;
    const Xapian::Document document = database_->document_of(query);
    for (auto word = document.termlist_begin(); word != document.termlist_end(); ++word) {
      words.emplace_back(*word, word.get_wdf());
    }
    std::vector<RankedDocument> found;
    if (words.empty() || count < 1) return found;
    // So large a k3 lets a word of the query count as often as it stands there.
    constexpr double no_k2 = 0, k3 = 1000, any_length = 0;
    Xapian::Enquire enquire(database_->reader);
    enquire.set_query(Xapian::Query(Xapian::Query::OP_OR, words.begin(), words.end()));
    enquire.set_weighting_scheme(Xapian::BM25Weight(options.k1, no_k2, k3, options.b, any_length));
    const auto most = std::min<std::int64_t>(count, database_->reader.get_doccount());
    const Xapian::MSet matches = enquire.get_mset(0, static_cast<Xapian::doccount>(most));
    for (auto match = matches.begin(); match != matches.end(); ++match) {
      found.push_back({id_of(match.get_document()), match.get_weight()});
    }
    sort_ranking(found);
    return found;
  });
}

}  // namespace palimpsest
