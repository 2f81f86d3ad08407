// Searching an index: by memory, by full text, by both, and what is said of the results.
#include "launch/search/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "launch/search/search_report.h"
#include "tests/launch/search/search_fixture.h"

namespace palimpsest {

namespace {

class Search : public testing::SearchTest {};

TEST_F(Search, FullTextScoresAreThoseOfBm25) {
  std::string lines = line("long", "whale whale sea ship crew sea") + line("short", "whale calf");
  for (int i = 0; i < 8; ++i) lines += line("other" + std::to_string(i), "some words of land");
  index(write("c.jsonl", lines));
  const auto result = IndexSearch(index_).full_text({{"q", "Whale!"}, {"none", "zebra"}}, {});
  // Ten documents of 40 words, two with the word.
  const double idf = std::log((10 - 2 + 0.5) / (2 + 0.5)), k1 = 0.9, b = 0.4, mean = 4;
  const auto score = [&](double count, double length) {
    return idf * (k1 + 1) * count / (count + k1 * (1 - b + b * length / mean));
  };
  ASSERT_EQ(result[0].hits.size(), 2u);
  EXPECT_EQ(result[0].hits[0].document, "long");
  EXPECT_NEAR(result[0].hits[0].score, score(2, 6), 1e-9);
  EXPECT_NEAR(result[0].hits[1].score, score(1, 2), 1e-9);
  EXPECT_TRUE(result[1].hits.empty());
  const std::string long_id(5000, 'i');
  {
    Bm25Index full_text = Bm25Index::to_create(folder_ / "bm25", "english");
    full_text.put(long_id, "whales", "kept of it");
    full_text.put("b", "ships", std::string(Bm25Index::longest_kept + 1, 'x'));
    full_text.commit();
  }
  const Bm25Index full_text = Bm25Index::to_read(folder_ / "bm25", "english");
  EXPECT_EQ(full_text.ids(), (std::vector<std::string>{long_id, "b"}));
  EXPECT_EQ(full_text.search("whale", 5, {}).front().document, long_id);
  EXPECT_EQ(full_text.kept(long_id), "kept of it");
  EXPECT_EQ(full_text.kept("b"), "");
  EXPECT_EQ(full_text.kept("none"), "");
  EXPECT_EQ(full_text.words_of("Whales, a whale!"), (std::set<std::string>{"a", "whale"}));
}

TEST_F(Search, ByMemoryInOneStageAndInTwo) {
  index(corpus(), {.index = {.shard_documents = 2}});
  const IndexSearch search(index_);
  const SearchCorpus documents(folder_ / "corpus.jsonl");
  const std::vector<SearchQuery> queries = {{"q", tiny_text(20, 1)}};
  const auto by_memory = [&](const SearchOptions& options) {
    return search.by_memory(queries, options, *model_, tokenizer_, pool_).front().hits;
  };
  const std::vector<SearchHit> all = by_memory({.lanes = 2});
  ASSERT_EQ(all.size(), 5u);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].score, all[i].log_likelihood);
    EXPECT_TRUE(i == 0 || all[i - 1].score >= all[i].score);
    EXPECT_EQ(all[i].title, "title");
    std::vector<std::int32_t> tokens =
        tokenizer_.encode(documents.document(std::stoll(all[i].document.substr(1))).whole_text());
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    EXPECT_NEAR(all[i].score,
                query_log_likelihoods(*model_, pool_, read_document(*model_, pool_, tokens), tokenizer_.encode("\n"),
                                      tokenizer_.encode(queries[0].text))
                    .front(),
                1e-5);
  }
  // The title is in all, so that full-text search finds all; it knows d1 by its words.
  const std::vector<SearchQuery> titled = {{"q", "title " + tiny_text(27, 1)}};
  const auto two = search.by_memory(titled, {.first_stage = 3}, *model_, tokenizer_, pool_).front().hits;
  const auto mixed =
      search.by_memory(titled, {.first_stage = 3, .interpolate = 0.25}, *model_, tokenizer_, pool_).front().hits;
  ASSERT_EQ(two.size(), 3u);
  ASSERT_EQ(mixed.size(), 3u);
  double least[2] = {1e9, 1e9}, most[2] = {-1e9, -1e9};
  for (const SearchHit& hit : two) {
    for (const auto& [i, value] : {std::pair{0, *hit.log_likelihood}, std::pair{1, *hit.bm25}}) {
      least[i] = std::min(least[i], value);
      most[i] = std::max(most[i], value);
    }
  }
  EXPECT_GT(most[1], least[1]);
  for (const SearchHit& hit : mixed) {
    EXPECT_NEAR(hit.score,
                0.25 * (*hit.log_likelihood - least[0]) / (most[0] - least[0]) +
                    0.75 * (*hit.bm25 - least[1]) / (most[1] - least[1]),
                1e-9);
  }
  EXPECT_TRUE(search.by_memory(queries, {}, *model_, tokenizer_, pool_, [](double) { return false; }).empty());
  expect_error<ConfigError>("--before has no tokens", [&] { by_memory({.before = ""}); });
  expect_error<ConfigError>("--interpolate has nothing", [&] { by_memory({.interpolate = 0.5}); });
  expect_error<ConfigError>("--b is 2", [&] { by_memory({.bm25 = {.b = 2}}); });
  expect_error<ConfigError>("--k1 is inf",
                            [&] { by_memory({.bm25 = {.k1 = std::numeric_limits<double>::infinity()}}); });
}

TEST_F(Search, TheSentenceIsTheOneAfterWhichTheQueryIsLikeliest) {
  std::string lines, many;
  for (int i = 0; i < 40; ++i)
    many += tiny_text(9 + static_cast<std::size_t>(i) % 5, 50U + static_cast<unsigned>(i)) + ". ";
  index(write("c.jsonl", line("a", "The sea was calm. Was it? " + tiny_text(30, 4) + ".", "title") +
                             line("b", many + "Then a whale was seen.") + line("c", "", "only a title")));
  const IndexSearch search(index_);
  const std::string query = "a whale was seen";
  std::vector<SearchResult> results = search.by_memory({{"q", query}}, {}, *model_, tokenizer_, pool_);
  ASSERT_EQ(results.front().hits.size(), 3u);
  EXPECT_TRUE(search.add_sentences(results, 3, {}, *model_, tokenizer_, pool_));
  const SearchCorpus documents(folder_ / "c.jsonl");
  for (const SearchHit& hit : results.front().hits) {
    if (hit.document == "c") {
      EXPECT_EQ(hit.sentence, "");
    }
    if (hit.document != "a") continue;
    std::vector<std::int32_t> tokens = tokenizer_.encode(documents.document(0).whole_text());
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    const SequenceState memory = read_document(*model_, pool_, tokens);
    std::string best;
    double most = -1e9;
    for (const std::string& sentence :
         {std::string("The sea was calm."), std::string("Was it?"), tiny_text(30, 4) + "."}) {
      const double found =
          query_log_likelihoods(*model_, pool_, memory, tokenizer_.encode(sentence + "\n"), tokenizer_.encode(query))
              .front();
      if (found > most) best = sentence;
      most = std::max(most, found);
    }
    EXPECT_EQ(hit.sentence, best);
  }
  // One has 41 sentences, of which some are left aside.
  const auto at = [&](const std::string& id) -> const std::string& {
    return std::ranges::find(results.front().hits, id, &SearchHit::document)->sentence;
  };
  EXPECT_FALSE(at("b").empty());
  EXPECT_NE(format_results(results, 3).find("title (a)\n      " + at("a") + "\n"), std::string::npos);
  EXPECT_NE(json_lines_of(results).find("\"sentence\":\"" + at("a")), std::string::npos);
  results.front().hits.front().sentence = "";
  EXPECT_TRUE(search.add_sentences(results, 0, {}, *model_, tokenizer_, pool_));
  EXPECT_EQ(results.front().hits.front().sentence, "");
  EXPECT_FALSE(search.add_sentences(results, 3, {}, *model_, tokenizer_, pool_, [](double) { return false; }));
}

TEST_F(Search, ASentenceCountsToItsEnd) {
  // They begin alike, and differ where the query looks.
  std::string same;
  while (same.size() < 200) same += "the sea ";
  const std::string query = "a whale was seen";
  const auto found = [&](const std::string& end, const std::string& other_end) {
    std::filesystem::remove_all(index_);
    index(write("c.jsonl", line("a", "A" + same + end + ". A" + same + other_end + ".")));
    const IndexSearch search(index_);
    std::vector<SearchResult> results = search.by_memory({{"q", query}}, {}, *model_, tokenizer_, pool_);
    search.add_sentences(results, 1, {}, *model_, tokenizer_, pool_);
    return results.front().hits.front().sentence;
  };
  const std::string one = found("was calm", "had a whale"), other = found("had a whale", "was calm");
  EXPECT_EQ(one.ends_with("had a whale."), other.ends_with("had a whale.")) << one << '\n' << other;
  // One that goes on and on is shown in part.
  std::string endless;
  while (endless.size() < 3000) endless += same;
  const std::string part = found(endless, "was calm");
  EXPECT_FALSE(part.empty());
  EXPECT_LE(part.size(), 512U);
}

TEST_F(Search, ALikelihoodThatIsNotFiniteIsNoScore) {
  // Its output is not finite; what it remembers is.
  fill(model_->parameters().find("norm.weight").master, std::numeric_limits<double>::quiet_NaN());
  index(corpus());
  expect_error<NumericalError>("query q: its log-likelihood after document d4 is not finite", [&] {
    IndexSearch(index_).by_memory({{"q", "text"}}, {}, *model_, tokenizer_, pool_);
  });
}

TEST_F(Search, ResultsForPeopleAndPrograms) {
  const std::vector<SearchResult> results = {
      {{"1", "whale"}, {{"d1", "Moby", -1.5, -1.5, 2.0, ""}, {"d2", "", -2, -2, {}, ""}}}, {{"2", "x"}, {}}};
  const std::string table = format_results(results, 1);
  EXPECT_NE(table.find("Moby (d1)\n"), std::string::npos) << table;
  EXPECT_EQ(table.find("d2"), std::string::npos) << table;
  EXPECT_NE(table.find("2: x\nnothing found\n"), std::string::npos) << table;
  EXPECT_EQ(run_of(results), "1 Q0 d1 1 -1.5 palimpsest\n1 Q0 d2 2 -2 palimpsest\n");
  const std::string lines = json_lines_of(results);
  EXPECT_NE(lines.find("\"title\":\"Moby\",\"score\":-1.5,\"log_likelihood\":-1.5,\"bm25\":2.0"), std::string::npos)
      << lines;
  IndexManifest manifest;
  manifest.shards = {{"states-000001.safetensors", "", {{"d1", "a title", "", 1}}}};
  EXPECT_NO_THROW(require_run_ids({{"#1", "x"}}, manifest));
  expect_error<DataError>("query \"a query\" cannot stand", [&] { require_run_ids({{"a query", "x"}}, manifest); });
  manifest.shards.front().documents.push_back({"a document", "", "", 1});
  expect_error<DataError>("document \"a document\" cannot", [&] { require_run_ids({{"1", "x"}}, manifest); });
  EXPECT_THROW(run_of({{{"a query", "x"}, {{"d", "", 1, 1, {}, ""}}}}), DataError);
  const auto queries = read_queries(write("q.jsonl", "{\"_id\": \"7\", \"text\": \"a whale\"}\n"));
  EXPECT_EQ(queries.front().id, "7");
  EXPECT_EQ(read_queries(write("q.txt", "one\ntwo\n")).back().id, "2");
  expect_error<DataError>("query 2 is empty", [&] { read_queries(write("q.txt", "one\n\n")); });
}

}  // namespace

}  // namespace palimpsest
