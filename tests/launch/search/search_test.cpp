// Indexes: what is kept, added, removed, resumed and refused; and searching them.
#include "launch/search/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <span>

#include "core/error.h"
#include "launch/search/document_memory.h"
#include "launch/search/index_files.h"
#include "launch/search/index_report.h"
#include "launch/search/indexing.h"
#include "launch/search/search_report.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

class Search : public testing::Test {
 protected:
  static std::string line(const std::string& id, const std::string& text, const std::string& title = "") {
    return "{\"_id\": \"" + id + "\", \"title\": \"" + title + "\", \"text\": \"" + text + "\"}\n";
  }
  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  fs::path corpus() {
    std::string lines;
    for (unsigned i = 0; i < 5; ++i) lines += line("d" + std::to_string(i), tiny_text(20 + 7 * i, i), "title");
    return write("corpus.jsonl", lines);
  }
  IndexingResult index(const fs::path& corpus, const IndexingOptions& options = {},
                       const std::function<bool(const IndexingProgress&)>& goes_on = {}) {
    return read_into_index(SearchCorpus(corpus), index_, *model_, tokenizer_, pool_, *one_, options, goes_on);
  }
  /// The first tensor of each document's memory, by id.
  std::map<std::string, std::vector<double>> memories() {
    std::map<std::string, std::vector<double>> found;
    for (const IndexShard& shard : read_index(index_).shards) {
      const SequenceState state = read_shard(index_, shard, read_index(index_).type, *model_, pool_);
      for (std::size_t i = 0; i < shard.documents.size(); ++i) {
        const auto row = static_cast<std::int64_t>(i);
        found[shard.documents[i].id] = state.layers[1][0].tensor.rows(row, row + 1).to_doubles();
      }
    }
    return found;
  }
  std::vector<double> read_alone(const SearchDocument& document) {
    std::vector<std::int32_t> tokens = tokenizer_.encode(document.whole_text());
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    return read_document(*model_, pool_, tokens).layers[1][0].tensor.to_doubles();
  }
  /// Equal but for the order in which numbers were added.
  static void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], 1e-5 * std::max(1.0, std::abs(expected[i])));
  }
  std::int64_t files(const std::string& beginning) {
    std::int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(index_)) {
      count += entry.path().filename().string().starts_with(beginning);
    }
    return count;
  }
  template <class Exception>
  static void expect_error(const std::string& expected, const std::function<void()>& work) {
    try {
      work();
      ADD_FAILURE() << "nothing was wrong; expected: " << expected;
    } catch (const Exception& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }

  TemporaryDirectory folder_;
  const fs::path index_ = folder_ / "index";
  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  const ByteTokenizer tokenizer_ = {};
  const std::unique_ptr<Communicator> one_ = single_process();
};

TEST_F(Search, AnIndexHasWhatReadingADocumentGives) {
  const SearchCorpus documents(corpus());
  const IndexingResult result = index(folder_ / "corpus.jsonl", {.index = {.shard_documents = 2}});
  EXPECT_EQ(result.read.documents, 5);
  EXPECT_EQ(read_index(index_).shards.size(), 3u);
  const auto found = memories();
  for (std::int64_t i = 0; i < documents.size(); ++i) {
    expect_near(found.at(documents.id(i)), read_alone(documents.document(i)));
  }
}

TEST_F(Search, MemoriesInBfloat16AreRounded) {
  const SearchCorpus documents(corpus());
  index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16}});
  const std::vector<double> found = memories().at("d3"), exact = read_alone(documents.document(3));
  for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(found[i], exact[i], std::abs(exact[i]) / 256);
  EXPECT_NE(found, exact);
}

TEST_F(Search, MemoriesInEightBitsHaveAScaleARow) {
  const SearchCorpus documents(corpus());
  const IndexingResult result = index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::int8}});
  // Of each of 2 x 2 heads: 4 x 4 and 4 numbers, and 5 scales.
  EXPECT_EQ(result.bytes, 5u * 4 * (16 + 4 + 4 * 5));
  for (int i = 0; i < 5; ++i) {
    const std::vector<double> found = memories().at("d" + std::to_string(i)), exact = read_alone(documents.document(i));
    for (std::size_t row = 0; row < exact.size(); row += 4) {
      double largest = 0;
      for (std::size_t at = row; at < row + 4; ++at) largest = std::max(largest, std::abs(exact[at]));
      EXPECT_NEAR(*std::ranges::max_element(std::span(found).subspan(row, 4), {}, [](double x) { return std::abs(x); }),
                  *std::ranges::max_element(std::span(exact).subspan(row, 4), {}, [](double x) { return std::abs(x); }),
                  1e-4 * largest);
      for (std::size_t at = row; at < row + 4; ++at) EXPECT_NEAR(found[at], exact[at], 0.501 * largest / 127) << at;
    }
  }
  // Removing rewrites shards, without a change of what stays.
  const auto before = memories();
  index(write("less.jsonl", line("d3", tiny_text(41, 3), "title")),
        {.index = {.type = MemoryType::int8}, .prune = true});
  EXPECT_EQ(memories().size(), 1u);
  EXPECT_EQ(memories().at("d3"), before.at("d3"));
  EXPECT_NE(describe_index(index_).find("B a document in int8"), std::string::npos);
  fill(model_->parameters().find("norm.weight").master, 1);
  fill(model_->parameters().find("layers.0.input_layernorm.weight").master, std::numeric_limits<double>::infinity());
  fs::remove_all(index_);
  expect_error<NumericalError>("document d4: layers.0.matrix is not finite in its memory",
                               [&] { index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::int8}}); });
}

TEST_F(Search, WhatIsThereIsNotReadAgain) {
  const IndexingOptions options{.index = {.shard_documents = 2}};
  // Stopped after the third document: two of the first three are read side by side.
  const IndexingResult stopped =
      index(corpus(), options, [](const IndexingProgress& now) { return now.documents < 2; });
  EXPECT_FALSE(stopped.complete);
  EXPECT_EQ(stopped.documents, 3);
  // What a killed writer leaves: a shard that index.json does not name.
  std::ofstream(index_ / shard_name(99)) << "half a shard";
  const IndexingResult resumed = index(folder_ / "corpus.jsonl", options);
  EXPECT_TRUE(resumed.complete);
  EXPECT_EQ(resumed.read.documents, 2);
  EXPECT_EQ(resumed.unchanged, 3);
  EXPECT_FALSE(fs::exists(index_ / shard_name(99)));
  EXPECT_EQ(memories().size(), 5u);
}

TEST_F(Search, DocumentsAreAddedReplacedAndRemoved) {
  index(corpus());
  const auto before = memories();
  const fs::path more = write("more.jsonl", line("d1", "another text than before") + line("d9", "an ostrich"));
  const IndexingResult added = index(more);
  EXPECT_EQ(added.read.documents, 2);
  EXPECT_EQ(added.replaced, 1);
  EXPECT_EQ(added.documents, 6);
  auto after = memories();
  EXPECT_NE(after.at("d1"), before.at("d1"));
  EXPECT_EQ(after.at("d4"), before.at("d4"));
  EXPECT_EQ(IndexSearch(index_).full_text({{"q", "ostrich"}}, {}).front().hits.front().document, "d9");
  const IndexingResult pruned = index(more, {.prune = true});
  EXPECT_EQ(pruned.read.documents, 0);
  EXPECT_EQ(pruned.removed, 4);
  EXPECT_EQ(memories().size(), 2u);
  EXPECT_EQ(memories().at("d1"), after.at("d1"));
  EXPECT_EQ(files("states-"), static_cast<std::int64_t>(read_index(index_).shards.size()));
}

TEST_F(Search, DocumentsAreRemovedById) {
  index(corpus(), {.index = {.type = MemoryType::bfloat16, .stemmer = "english", .shard_documents = 2}});
  auto expected = memories();
  const auto remove = [&](const std::set<std::string>& ids) {
    return remove_from_index(ids, index_, *model_, tokenizer_, pool_);
  };
  const RemovalResult result = remove({"d1", "none", "d3"});
  EXPECT_EQ(result.removed, 2);
  EXPECT_EQ(result.documents, 3);
  EXPECT_EQ(result.unknown, (std::vector<std::string>{"none"}));
  expected.erase("d1");
  expected.erase("d3");
  EXPECT_EQ(memories(), expected);
  EXPECT_EQ(IndexSearch(index_).full_text({{"q", "title"}}, {}).front().hits.size(), 3u);
  EXPECT_EQ(files("states-"), static_cast<std::int64_t>(read_index(index_).shards.size()));
  EXPECT_EQ(remove({"d1"}).removed, 0);
  EXPECT_EQ(memories(), expected);
  // What was removed is read again where a corpus has it.
  EXPECT_EQ(
      index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16, .stemmer = "english"}}).read.documents,
      2);
  EXPECT_THROW(remove_from_index({"d1"}, folder_ / "none", *model_, tokenizer_, pool_), FileError);
  EXPECT_FALSE(fs::exists(folder_ / "none"));
}

TEST_F(Search, WhatIsReplacedIsThereUntilTheNewIs) {
  index(corpus());
  auto expected = memories();
  std::string lines;
  for (int i = 0; i < 5; ++i) {  // each of another number of segments, d0 first
    const std::string end(static_cast<std::size_t>(8 * (5 - i)), 's');
    lines += line("d" + std::to_string(i), "whale number " + std::to_string(i) + end, "title");
  }
  const SearchCorpus changed(write("changed.jsonl", lines));
  const auto fail_after = [&](std::int64_t documents, std::int64_t shard_documents) {
    EXPECT_THROW(index(folder_ / "changed.jsonl", {.index = {.shard_documents = shard_documents}},
                       [&](const IndexingProgress& now) {
                         if (now.documents == documents) throw WriteError("killed");
                         return true;
                       }),
                 WriteError);
  };
  fail_after(0, 1);
  EXPECT_EQ(memories(), expected);
  fail_after(3, 512);  // none of the three was written
  EXPECT_EQ(memories(), expected);
  fail_after(2, 1);
  for (const char* id : {"d0", "d1"}) expected[id] = read_alone(changed.document(id[1] - '0'));
  EXPECT_EQ(memories(), expected);
  EXPECT_EQ(IndexSearch(index_).full_text({{"q", "title"}}, {}).front().hits.size(), 5u);
  const IndexingResult rest = index(folder_ / "changed.jsonl");
  EXPECT_EQ(rest.unchanged, 2);
  EXPECT_EQ(rest.replaced, 3);
  EXPECT_EQ(rest.documents, 5);
  expected["d4"] = read_alone(changed.document(4));
  EXPECT_EQ(memories().at("d4"), expected.at("d4"));
  EXPECT_EQ(memories().size(), 5u);
  EXPECT_EQ(files("states-"), static_cast<std::int64_t>(read_index(index_).shards.size()));
}

TEST_F(Search, APartThatIsLostIsNamed) {
  index(corpus());
  const auto expected = memories();
  const auto refused = [&](const std::string& message) {
    expect_error<FileError>(message, [&] { index(folder_ / "corpus.jsonl"); });
    expect_error<FileError>(message, [&] { IndexSearch search(index_); });
  };
  fs::rename(index_ / index_bm25_folder, folder_ / "kept");
  refused("bm25: is missing: expected the full-text part of the index");
  const fs::path other = folder_ / "other";
  read_into_index(SearchCorpus(write("other.jsonl", line("d3", "text"))), other, *model_, tokenizer_, pool_, *one_, {});
  fs::rename(other / index_bm25_folder, index_ / index_bm25_folder);
  refused("bm25: does not belong to the index: it lacks 4 of 5 documents, the first d0");
  EXPECT_EQ(memories(), expected);
  fs::remove_all(index_ / index_bm25_folder);
  fs::rename(folder_ / "kept", index_ / index_bm25_folder);
  EXPECT_EQ(index(folder_ / "corpus.jsonl").unchanged, 5);
  fs::rename(index_ / index_manifest_name, folder_ / "kept");
  expect_error<FileError>("holds memories (states-000001.safetensors), but index.json is missing",
                          [&] { index(folder_ / "corpus.jsonl"); });
  fs::rename(folder_ / "kept", index_ / index_manifest_name);
  EXPECT_EQ(memories(), expected);
}

TEST_F(Search, ADocumentThatIsEmptiedGoes) {
  index(write("some.jsonl", line("a", "whale") + line("b", "whale and sea")));
  write("some.jsonl", line("a", "whale") + line("b", " "));
  expect_error<DataError>("document b is empty", [&] { index(folder_ / "some.jsonl"); });
  const IndexingResult result = index(folder_ / "some.jsonl", {.skip_empty = true});
  EXPECT_EQ(result.removed, 1);
  EXPECT_EQ(result.documents, 1);
  EXPECT_EQ(memories().size(), 1u);
  EXPECT_EQ(IndexSearch(index_).full_text({{"q", "whale"}}, {}).front().hits.size(), 1u);
}

TEST_F(Search, EmptyDocumentsAreNamedOrLeftOut) {
  const fs::path some = write("some.jsonl", line("a", "text") + line("b", " ") + line("c", "", "only a title"));
  expect_error<DataError>("some.jsonl:2: document b is empty", [&] { index(some); });
  EXPECT_EQ(index(some, {.skip_empty = true}).documents, 2);
  expect_error<DataError>("all documents are empty",
                          [&] { index(write("e.jsonl", line("a", "")), {.skip_empty = true}); });
  expect_error<DataError>("e.jsonl:2: there is another document a",
                          [&] { SearchCorpus(write("e.jsonl", line("a", "") + line("a", "x"))); });
  expect_error<FileError>("\"text\" is missing", [&] { SearchCorpus(write("e.jsonl", "{\"_id\": \"a\"}")); });
}

TEST_F(Search, AnotherModelsIndexIsRefused) {
  index(corpus());
  const auto refuse = [&](const std::string& expected, const std::function<void()>& work) {
    expect_error<DataError>(expected, work);
  };
  refuse("bfloat16", [&] { index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16}}); });
  model_->initialize(8);
  refuse("another model: the hash of its parameters", [&] { index(folder_ / "corpus.jsonl"); });
  refuse("another model", [&] { IndexSearch(index_).by_memory({{"q", "text"}}, {}, *model_, tokenizer_, pool_); });
}

TEST_F(Search, DamageIsNoticed) {
  index(corpus());
  const fs::path shard = index_ / shard_name(1);
  const auto size = static_cast<std::streamoff>(fs::file_size(shard));
  std::fstream(shard, std::ios::in | std::ios::out | std::ios::binary).seekp(size - 3).put('!');
  expect_error<FileError>("is damaged: the hash", [&] { memories(); });
  fs::resize_file(shard, static_cast<std::uintmax_t>(size - 5));
  expect_error<FileError>(shard.string(), [&] { read_index(index_); });
  std::ofstream(index_ / index_manifest_name) << "{\"format\": \"other\"}";
  expect_error<FileError>("is not an index", [&] { read_index(index_); });
  expect_error<FileError>("index.json", [&] { read_index(folder_ / "none"); });
  fs::create_directories(folder_ / "full");
  write("full/notes.txt", "mine");
  expect_error<FileError>("holds notes.txt, but no index",
                          [&] { IndexWriter(folder_ / "full", *model_, tokenizer_, pool_, {}); });
}

TEST_F(Search, OneWriterAtATime) {
  const IndexWriter writer(index_, *model_, tokenizer_, pool_, {});
  expect_error<WriteError>("another process writes", [&] { index(corpus()); });
}

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
      {{"1", "whale"}, {{"d1", "Moby", -1.5, -1.5, 2.0}, {"d2", "", -2, -2, {}}}}, {{"2", "x"}, {}}};
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
  EXPECT_THROW(run_of({{{"a query", "x"}, {{"d", "", 1, 1, {}}}}}), DataError);
  const auto queries = read_queries(write("q.jsonl", "{\"_id\": \"7\", \"text\": \"a whale\"}\n"));
  EXPECT_EQ(queries.front().id, "7");
  EXPECT_EQ(read_queries(write("q.txt", "one\ntwo\n")).back().id, "2");
  expect_error<DataError>("query 2 is empty", [&] { read_queries(write("q.txt", "one\n\n")); });
}

}  // namespace

}  // namespace palimpsest
