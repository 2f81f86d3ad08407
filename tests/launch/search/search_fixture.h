// An index of made-up documents by a small model, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launch/search/document_memory.h"
#include "launch/search/indexing.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest::testing {

namespace fs = std::filesystem;

class SearchTest : public ::testing::Test {
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

}  // namespace palimpsest::testing
