// Which sentence of a document speaks for it: IndexSearch::add_sentences.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "data/text/sentences.h"
#include "launch/search/document_memory.h"
#include "launch/search/search.h"

namespace palimpsest {

namespace {

constexpr std::size_t most_sentences = 32, most_tokens = 128;

/// Those with most of the query's words, in the text's order.
std::vector<std::string> candidates(std::vector<std::string> sentences, const std::string& query,
                                    const Bm25Index& full_text) {
  if (sentences.size() <= most_sentences) return sentences;
  const std::set<std::string> asked = full_text.words_of(query);
  std::vector<std::pair<std::int64_t, std::size_t>> shared;  // how many words, as a negative number; which sentence
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    std::int64_t count = 0;
    for (const std::string& word : full_text.words_of(sentences[i])) count += asked.contains(word) ? 1 : 0;
    shared.emplace_back(-count, i);
  }
  std::ranges::sort(shared);
  shared.resize(most_sentences);
  std::ranges::sort(shared, {}, &std::pair<std::int64_t, std::size_t>::second);
  std::vector<std::string> chosen;
  chosen.reserve(shared.size());
  for (const auto& [count, place] : shared) chosen.push_back(std::move(sentences[place]));
  return chosen;
}

}  // namespace

bool IndexSearch::add_sentences(std::vector<SearchResult>& results, std::int64_t count, const SearchOptions& options,
                                const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                                const std::function<bool(double)>& goes_on) const {
  const std::vector<std::int32_t> before = tokenizer.encode(options.before);
  std::map<std::string, std::vector<std::pair<std::size_t, std::size_t>>> wanted;  // by document: results and hits
  double all = 0, done = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::size_t most = std::min(results[i].hits.size(), static_cast<std::size_t>(count));
    for (std::size_t hit = 0; hit < most; ++hit) wanted[results[i].hits[hit].document].emplace_back(i, hit);
    all += static_cast<double>(most);
  }
  for (const IndexShard& shard : manifest_.shards) {
    SequenceState memories;
    for (std::size_t row = 0; row < shard.documents.size(); ++row) {
      const auto places = wanted.find(shard.documents[row].id);
      if (places == wanted.end()) continue;
      if (memories.lanes() == 0) memories = read_shard(folder_, shard, manifest_.type, model, pool);
      const std::vector<std::string> sentences = sentences_of(bm25_.kept(shard.documents[row].id));
      for (const auto& [result, hit] : places->second) {
        if (goes_on && !goes_on(done++ / all)) return false;
        const std::string& query = results[result].query.text;
        const std::vector<std::string> tried = candidates(sentences, query, bm25_);
        if (tried.empty()) continue;
        std::vector<std::vector<std::int32_t>> texts;
        for (const std::string& sentence : tried) {
          std::vector<std::int32_t>& tokens = texts.emplace_back(tokenizer.encode(sentence));
          if (tokens.size() > most_tokens) tokens.resize(most_tokens);
          tokens.insert(tokens.end(), before.begin(), before.end());
        }
        const std::vector<std::int64_t> lanes(tried.size(), static_cast<std::int64_t>(row));
        const std::vector<double> likelihoods = query_log_likelihoods_each(
            model, pool, select_lanes(pool, memories, lanes), texts, tokenizer.encode(query));
        const auto best = std::ranges::max_element(likelihoods);
        if (std::isfinite(*best)) {
          results[result].hits[hit].sentence = tried[static_cast<std::size_t>(best - likelihoods.begin())];
        }
      }
    }
  }
  return true;
}

}  // namespace palimpsest
