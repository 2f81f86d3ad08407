// Indexes: what is kept, added, removed, resumed and refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <span>

#include "core/error.h"
#include "launch/search/index_files.h"
#include "launch/search/index_report.h"
#include "launch/search/indexing.h"
#include "launch/search/search.h"
#include "tests/launch/search/search_fixture.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

class SearchIndex : public testing::SearchTest {};

TEST_F(SearchIndex, AnIndexHasWhatReadingADocumentGives) {
  const SearchCorpus documents(corpus());
  const IndexingResult result = index(folder_ / "corpus.jsonl", {.index = {.shard_documents = 2}});
  EXPECT_EQ(result.read.documents, 5);
  EXPECT_EQ(read_index(index_).shards.size(), 3u);
  const auto found = memories();
  for (std::int64_t i = 0; i < documents.size(); ++i) {
    expect_near(found.at(documents.id(i)), read_alone(documents.document(i)));
  }
}

TEST_F(SearchIndex, MemoriesInBfloat16AreRounded) {
  const SearchCorpus documents(corpus());
  index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16}});
  const std::vector<double> found = memories().at("d3"), exact = read_alone(documents.document(3));
  for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(found[i], exact[i], std::abs(exact[i]) / 256);
  EXPECT_NE(found, exact);
}

TEST_F(SearchIndex, MemoriesInEightBitsHaveAScaleARow) {
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
  EXPECT_NE(describe_index(index_).find("160 B a document in int8"), std::string::npos);
  fill(model_->parameters().find("norm.weight").master, 1);
  fill(model_->parameters().find("layers.0.input_layernorm.weight").master, std::numeric_limits<double>::infinity());
  fs::remove_all(index_);
  expect_error<NumericalError>("document d4: layers.0.matrix is not finite in its memory",
                               [&] { index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::int8}}); });
}

TEST_F(SearchIndex, WhatIsThereIsNotReadAgain) {
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

TEST_F(SearchIndex, DocumentsAreAddedReplacedAndRemoved) {
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

TEST_F(SearchIndex, DocumentsAreRemovedById) {
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
  EXPECT_EQ(Bm25Index::to_read(index_ / index_bm25_folder, "english").ids().size(), 3u);
  EXPECT_EQ(remove({"d1"}).removed, 0);
  EXPECT_EQ(memories(), expected);
  // What was removed is read again where a corpus has it.
  EXPECT_EQ(
      index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16, .stemmer = "english"}}).read.documents,
      2);
  EXPECT_THROW(remove_from_index({"d1"}, folder_ / "none", *model_, tokenizer_, pool_), FileError);
  EXPECT_FALSE(fs::exists(folder_ / "none"));
}

TEST_F(SearchIndex, WhatIsReplacedIsThereUntilTheNewIs) {
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

TEST_F(SearchIndex, AnErrorLeavesWhatIsReplacedAsItWas) {
  index(corpus());
  const auto expected = memories();
  write("changed.jsonl", line("d1", "an ostrich"));
  const auto require_same = [&] {
    const IndexSearch search(index_);
    EXPECT_TRUE(search.full_text({{"q", "ostrich"}}, {}).front().hits.empty());
    EXPECT_EQ(search.full_text({{"q", "title"}}, {}).front().hits.size(), 5U);
  };
  const fs::path shard = index_ / shard_name(1), kept = folder_ / "kept";
  fs::copy(shard, kept);
  const auto damage = [&] {
    fs::remove(shard);
    fs::copy(kept, shard);
    std::fstream(shard, std::ios::in | std::ios::out | std::ios::binary)
        .seekp(static_cast<std::streamoff>(fs::file_size(shard)) - 3)
        .put('!');
  };
  // While the document is read, which is the last time to notice it; and before, which is told at once.
  const auto damage_late = [&](const IndexingProgress&) {
    damage();
    return true;
  };
  expect_error<FileError>("is damaged: the hash", [&] { index(folder_ / "changed.jsonl", {}, damage_late); });
  require_same();
  const auto never = [](const IndexingProgress&) {
    ADD_FAILURE() << "reads";
    return true;
  };
  expect_error<FileError>("indexing the corpus into a new folder makes it anew",
                          [&] { index(folder_ / "changed.jsonl", {}, never); });
  fs::remove(shard);
  fs::rename(kept, shard);
  {
    IndexWriter writer(index_, *model_, tokenizer_, pool_, {});
    IndexShard added = read_index(index_).shards.front();  // the same memories once more, under a name of their own
    added.file = shard_name(writer.reserve_shards(1));
    fs::copy(shard, index_ / added.file);
    EXPECT_THROW(writer.add({added},
                            [&](std::size_t, std::size_t place) -> SearchDocument {
                              if (place == 2) throw DataError("another text");
                              return {added.documents[place].id, "", "ostrich"};
                            }),
                 DataError);
  }
  require_same();
  EXPECT_EQ(memories(), expected);
  EXPECT_EQ(index(folder_ / "changed.jsonl").replaced, 1);
}

TEST_F(SearchIndex, APartThatIsLostIsNamed) {
  index(corpus());
  const auto expected = memories();
  const auto refused = [&](const std::string& message) {
    expect_error<FileError>(message, [&] { index(folder_ / "corpus.jsonl"); });
    expect_error<FileError>(message, [&] { IndexSearch search(index_); });
  };
  fs::rename(index_ / index_bm25_folder, folder_ / "kept");
  refused("bm25: is missing: expected the full-text part of the index");
  EXPECT_TRUE(is_index(index_));
  expect_error<FileError>("bm25: is missing", [&] { describe_index(index_); });
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

TEST_F(SearchIndex, ADocumentThatIsEmptiedGoes) {
  index(write("some.jsonl", line("a", "whale") + line("b", "whale and sea")));
  write("some.jsonl", line("a", "whale") + line("b", " "));
  expect_error<DataError>("document b is empty", [&] { index(folder_ / "some.jsonl"); });
  const IndexingResult result = index(folder_ / "some.jsonl", {.skip_empty = true});
  EXPECT_EQ(result.removed, 1);
  EXPECT_EQ(result.documents, 1);
  EXPECT_EQ(memories().size(), 1u);
  EXPECT_EQ(IndexSearch(index_).full_text({{"q", "whale"}}, {}).front().hits.size(), 1u);
}

TEST_F(SearchIndex, EmptyDocumentsAreNamedOrLeftOut) {
  const fs::path some = write("some.jsonl", line("a", "text") + line("b", " ") + line("c", "", "only a title"));
  expect_error<DataError>("some.jsonl:2: document b is empty", [&] { index(some); });
  EXPECT_EQ(index(some, {.skip_empty = true}).documents, 2);
  expect_error<DataError>("all documents are empty",
                          [&] { index(write("e.jsonl", line("a", "")), {.skip_empty = true}); });
  expect_error<DataError>("e.jsonl:2: there is another document a",
                          [&] { SearchCorpus(write("e.jsonl", line("a", "") + line("a", "x"))); });
  expect_error<DataError>("there is no document 3 in a corpus of 3", [&] { SearchCorpus(some).document(3); });
  expect_error<FileError>("\"text\" is missing", [&] { SearchCorpus(write("e.jsonl", "{\"_id\": \"a\"}")); });
}

TEST_F(SearchIndex, AnotherModelsIndexIsRefused) {
  index(corpus());
  const auto refuse = [&](const std::string& expected, const std::function<void()>& work) {
    expect_error<DataError>(expected, work);
  };
  refuse("bfloat16", [&] { index(folder_ / "corpus.jsonl", {.index = {.type = MemoryType::bfloat16}}); });
  model_->initialize(8);
  refuse("another model: the hash of its parameters", [&] { index(folder_ / "corpus.jsonl"); });
  refuse("another model", [&] { IndexSearch(index_).by_memory({{"q", "text"}}, {}, *model_, tokenizer_, pool_); });
}

TEST_F(SearchIndex, DamageIsNoticed) {
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

TEST_F(SearchIndex, OneWriterAtATime) {
  const IndexWriter writer(index_, *model_, tokenizer_, pool_, {});
  expect_error<WriteError>("another process writes", [&] { index(corpus()); });
}

}  // namespace

}  // namespace palimpsest
