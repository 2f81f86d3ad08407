#include "launch/search/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"
#include "launch/search/document_memory.h"
#include "launch/search/index_files.h"

namespace palimpsest {

namespace {

/// A query's candidates on their way.
struct Asked {
  std::string id;
  std::vector<std::int32_t> tokens;
  std::vector<SearchHit> hits;
  std::map<std::string, std::size_t> places;  // of the documents in hits
};

/// Brings values to [0, 1].
void normalize(std::vector<double>& values) {
  const auto [lowest, highest] = std::ranges::minmax(values);
  for (double& value : values) value = highest > lowest ? (value - lowest) / (highest - lowest) : 0;
}

void set_scores(std::vector<SearchHit>& hits, double interpolate) {
  std::vector<double> likelihoods, matches;
  for (const SearchHit& hit : hits) {
    likelihoods.push_back(hit.log_likelihood.value());
    matches.push_back(hit.bm25.value_or(0));
  }
  if (interpolate < 1 && !hits.empty()) {
    normalize(likelihoods);
    normalize(matches);
  }
  for (std::size_t i = 0; i < hits.size(); ++i) {
    hits[i].score = interpolate < 1 ? interpolate * likelihoods[i] + (1 - interpolate) * matches[i] : likelihoods[i];
  }
}

void sort_hits(std::vector<SearchHit>& hits, std::int64_t depth) {
  std::ranges::sort(hits, [](const SearchHit& a, const SearchHit& b) {
    return a.score != b.score ? a.score > b.score : a.document > b.document;
  });
  if (static_cast<std::int64_t>(hits.size()) > depth) hits.resize(static_cast<std::size_t>(depth));
}

}  // namespace

void check(const SearchOptions& options) {
  check(options.bm25);
  if (!(options.interpolate >= 0 && options.interpolate <= 1)) {
    throw ConfigError(fmt::format("--interpolate is {}: expected a number between 0 and 1", options.interpolate));
  }
  if (options.interpolate < 1 && options.first_stage == 0) {
    throw ConfigError("--interpolate has nothing to join the likelihood with: expected --first-stage bm25:K, too");
  }
}

IndexSearch::IndexSearch(const std::filesystem::path& folder)
    : folder_(folder),
      manifest_(read_index(folder)),
      bm25_(Bm25Index::to_read(folder / index_bm25_folder, manifest_.stemmer)) {
  for (const IndexShard& shard : manifest_.shards) {
    for (const IndexedDocument& document : shard.documents) titles_.emplace(document.id, document.title);
  }
  if (titles_.empty()) throw DataError(fmt::format("{}: holds no documents", folder.string()));
  require_full_text(folder, bm25_.ids(), titles_);
}

std::vector<SearchHit> IndexSearch::first_stage(const std::string& query, std::int64_t count,
                                                const Bm25Options& options) const {
  std::vector<SearchHit> hits;
  for (const RankedDocument& found : bm25_.search(query, count, options)) {
    // A writer that was killed may have left others.
    const auto title = titles_.find(found.document);
    if (title != titles_.end()) hits.push_back({found.document, title->second, found.score, {}, found.score, {}});
  }
  return hits;
}

std::vector<SearchResult> IndexSearch::full_text(const std::vector<SearchQuery>& queries,
                                                 const SearchOptions& options) const {
  check(options);
  std::vector<SearchResult> results;
  for (const SearchQuery& query : queries) {
    results.push_back({query, first_stage(query.text, options.depth, options.bm25)});
    sort_hits(results.back().hits, options.depth);
  }
  return results;
}

std::vector<SearchResult> IndexSearch::by_memory(const std::vector<SearchQuery>& queries, const SearchOptions& options,
                                                 const LanguageModel& model, const Tokenizer& tokenizer,
                                                 MemoryPool& pool, const std::function<bool(double)>& goes_on) const {
  check(options);
  require_document_memory(model);
  require_same(manifest_.model, identity_of(model, tokenizer), folder_.string());
  const std::vector<std::int32_t> before = tokenizer.encode(options.before);
  if (before.empty()) {
    throw ConfigError("--before has no tokens: expected a text, from which a query's first token is predicted");
  }
  std::vector<Asked> all;
  for (const SearchQuery& query : queries) {
    Asked& asked = all.emplace_back();
    asked.id = query.id;
    asked.tokens = tokenizer.encode(query.text);
    if (asked.tokens.empty()) throw DataError(fmt::format("query {} has no tokens", printable(query.id)));
    if (options.first_stage > 0) {
      asked.hits = first_stage(query.text, options.first_stage, options.bm25);
    } else {
      for (const auto& [id, title] : titles_) asked.hits.push_back({id, title, 0, {}, {}, {}});
    }
    for (std::size_t i = 0; i < asked.hits.size(); ++i) asked.places.emplace(asked.hits[i].document, i);
  }
  const double steps = static_cast<double>(manifest_.shards.size() * queries.size());
  double step = 0;
  for (const IndexShard& shard : manifest_.shards) {
    const SequenceState memories = read_shard(folder_, shard, manifest_.type, model, pool);
    for (Asked& asked : all) {
      std::vector<std::int64_t> rows;
      std::vector<std::size_t> places;
      for (std::size_t i = 0; i < shard.documents.size(); ++i) {
        const auto place = asked.places.find(shard.documents[i].id);
        if (place == asked.places.end()) continue;
        rows.push_back(static_cast<std::int64_t>(i));
        places.push_back(place->second);
      }
      for (std::size_t begin = 0; begin < rows.size();) {
        const std::size_t count = std::min(static_cast<std::size_t>(options.lanes), rows.size() - begin);
        const SequenceState lanes = select_lanes(pool, memories, std::span(rows).subspan(begin, count));
        const std::vector<double> likelihoods = query_log_likelihoods(model, pool, lanes, before, asked.tokens);
        for (std::size_t i = 0; i < count; ++i) {
          SearchHit& hit = asked.hits[places[begin + i]];
          if (!std::isfinite(likelihoods[i])) {
            throw NumericalError(fmt::format("query {}: its log-likelihood after document {} is not finite",
                                             printable(asked.id), printable(hit.document)));
          }
          hit.log_likelihood = likelihoods[i];
        }
        begin += count;
      }
      if (goes_on && !goes_on(++step / steps)) return {};
    }
  }
  std::vector<SearchResult> results;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    set_scores(all[i].hits, options.interpolate);
    sort_hits(all[i].hits, options.depth);
    results.push_back({queries[i], std::move(all[i].hits)});
  }
  return results;
}

}  // namespace palimpsest
