// Searching an index: by what a model remembers of each document, by full-text search, or by both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/search/bm25.h"
#include "launch/search/memory_index.h"

namespace palimpsest {

struct SearchOptions {
  /// 0: the memory of every document is asked. K: full-text search finds the K best, which the memory puts in order.
  std::int64_t first_stage = 0;
  /// λ: what orders them is λ times the likelihood plus (1 − λ) times BM25, each first brought to [0, 1] over the
  /// documents of the query: (score − lowest) / (highest − lowest), 0 where all are equal. 1: the likelihood as it is.
  double interpolate = 1;
  Bm25Options bm25 = {};
  std::string before = "\n";  // the text between document and query
  std::int64_t depth = 1000;  // documents of a query in the result, at most
  std::int64_t lanes = 64;    // documents that are asked at once
};

/// Throws ConfigError naming the option whose value cannot be.
void check(const SearchOptions& options);

struct SearchQuery {
  std::string id, text;
};

struct SearchHit {
  std::string document, title;
  double score = 0;  // what orders them
  std::optional<double> log_likelihood, bm25;
  std::string sentence;  // empty: not looked for, or none
};

struct SearchResult {
  SearchQuery query;
  std::vector<SearchHit> hits;  // the best first; with equal scores, the later id
};

class IndexSearch {
 public:
  /// Throws what read_index and require_full_text do.
  explicit IndexSearch(const std::filesystem::path& folder);

  const IndexManifest& manifest() const { return manifest_; }

  /// Full-text search alone.
  std::vector<SearchResult> full_text(const std::vector<SearchQuery>& queries, const SearchOptions& options) const;
  /// By the memory, with the model that made the index. `goes_on` is called now and then with the share of documents
  /// and queries that is done; where it says no, the result is empty. Throws DataError on another model, on a query
  /// without tokens and on an index without documents; NumericalError on a likelihood that is not finite.
  std::vector<SearchResult> by_memory(const std::vector<SearchQuery>& queries, const SearchOptions& options,
                                      const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                                      const std::function<bool(double done)>& goes_on = {}) const;

  /// Gives the first `count` hits of each result the sentence of their text after which the query is likeliest: log
  /// p(query | the document's memory, the sentence, before). A sentence of more than 512 bytes is cut between words
  /// into parts, each a sentence here. Of a text with more than 32 those 32 are tried that have most of the query's
  /// words. By the model that made the index, as by_memory; returns false where `goes_on` said no, with the sentences
  /// that it had found until then.
  bool add_sentences(std::vector<SearchResult>& results, std::int64_t count, const SearchOptions& options,
                     const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                     const std::function<bool(double done)>& goes_on = {}) const;

 private:
  std::vector<SearchHit> first_stage(const std::string& query, std::int64_t count, const Bm25Options& options) const;

  std::filesystem::path folder_;
  IndexManifest manifest_;
  Bm25Index bm25_;
  std::map<std::string, std::string> titles_;  // of every document
};

}  // namespace palimpsest
