// Which sentence of a document speaks for it: IndexSearch::add_sentences.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include "data/text/sentences.h"
#include "launch/search/document_memory.h"
#include "launch/search/search.h"
#include "layers/rows_at_once.h"

namespace palimpsest {

namespace {

constexpr std::size_t most_sentences = 32, most_bytes = 512;

/// The sentences of a text; of a very long one, its parts, each of which is tried as a whole.
std::vector<std::string> short_sentences_of(const std::string& text) {
  std::vector<std::string> sentences;
  for (const std::string& sentence : sentences_of(text)) {
    for (std::string& part : parts_of(sentence, most_bytes)) sentences.push_back(std::move(part));
  }
  return sentences;
}

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

/// log p(query | memory in a row of `memories`, text) ÷ tokens of the query, for each text; those of about one length
/// are read side by side.
std::vector<double> likelihoods_after(const LanguageModel& model, MemoryPool& pool, const SequenceState& memories,
                                      std::int64_t row, const std::vector<std::vector<std::int32_t>>& texts,
                                      const std::vector<std::int32_t>& query) {
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t place) { return texts[place].size(); });
  std::vector<double> likelihoods(texts.size());
  for (std::span<const std::size_t> left = order; !left.empty();) {
    const std::size_t longest = texts[left.front()].size() + query.size();
    const auto together =
        left.first(std::clamp(static_cast<std::size_t>(rows_at_once) / longest, std::size_t{1}, left.size()));
    left = left.subspan(together.size());
    std::vector<std::vector<std::int32_t>> before;
    before.reserve(together.size());
    for (const std::size_t place : together) before.push_back(texts[place]);
    const std::vector<std::int64_t> lanes(together.size(), row);
    const std::vector<double> found =
        query_log_likelihoods_each(model, pool, select_lanes(pool, memories, lanes), before, query);
    for (std::size_t i = 0; i < together.size(); ++i) likelihoods[together[i]] = found[i];
  }
  return likelihoods;
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
      const std::vector<std::string> sentences = short_sentences_of(bm25_.kept(shard.documents[row].id));
      for (const auto& [result, hit] : places->second) {
        if (goes_on && !goes_on(done++ / all)) return false;
        const std::string& query = results[result].query.text;
        const std::vector<std::string> tried = candidates(sentences, query, bm25_);
        if (tried.empty()) continue;
        std::vector<std::vector<std::int32_t>> texts;
        for (const std::string& sentence : tried) {
          std::vector<std::int32_t>& tokens = texts.emplace_back(tokenizer.encode(sentence));
          tokens.insert(tokens.end(), before.begin(), before.end());
        }
        const std::vector<double> likelihoods =
            likelihoods_after(model, pool, memories, static_cast<std::int64_t>(row), texts, tokenizer.encode(query));
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
