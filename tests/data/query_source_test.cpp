// Queries that documents ask for themselves: what they are, where they stand in a lane, and that they follow from seed
// and step.
#include "data/stream/query_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

namespace {

class QuerySources : public testing::Test {
 protected:
  QuerySources() {
    write(
        "{\"_id\": \"1\", \"title\": \"Whales\", \"text\": \"A whale is large. It eats krill. It sings.\"}\n\n"
        "{\"_id\": \"2\", \"text\": \"One sentence without a title.\"}\n"
        "{\"_id\": \"3\", \"text\": \"\", \"title\": \"nothing\"}\n");
  }
  void write(const std::string& lines) { std::ofstream(config_.corpus, std::ios::binary) << lines; }
  QueryConfig with(QueryShares shares, double left_in = 0) const {
    QueryConfig config = config_;
    config.shares = shares;
    config.left_in = left_in;
    return config;
  }
  std::string text_of(std::span<const std::int32_t> tokens) const { return tokenizer_.decode(tokens); }
  /// Of many steps: "document|query".
  std::set<std::string> drawn(const QueryConfig& config) const {
    QuerySource source(config, shape_);
    std::set<std::string> all;
    for (int step = 0; step < 200; ++step) {
      const QueryExample example = source.examples(0).front();  // with room for the whole document
      EXPECT_EQ(example.document.front(), tokenizer_.begin_id());
      all.insert(text_of(std::span(example.document).subspan(1)) + '|' + text_of(example.query));
      source.next({0, 1});
    }
    return all;
  }

  TemporaryDirectory folder_;
  QueryConfig config_{.corpus = (folder_ / "corpus.jsonl").string(), .tokenizer = "bytes"};
  SourceShape shape_{.seed = 3, .batch_size = 3, .sequence_length = 256, .segment_length = 32};
  const ByteTokenizer tokenizer_ = {};
};

TEST_F(QuerySources, TitlesFirstSentencesAndSentences) {
  EXPECT_EQ(drawn(with({.titles = 1, .first_sentences = 0, .sentences = 0})),
            (std::set<std::string>{"A whale is large. It eats krill. It sings.|Whales"}));
  EXPECT_EQ(drawn(with({.titles = 0, .first_sentences = 2, .sentences = 0})),
            (std::set<std::string>{"Whales\n It eats krill. It sings.|A whale is large."}));
  EXPECT_EQ(drawn(with({.titles = 0, .first_sentences = 0, .sentences = 1})),
            (std::set<std::string>{"Whales\n It eats krill. It sings.|A whale is large.",
                                   "Whales\nA whale is large.  It sings.|It eats krill.",
                                   "Whales\nA whale is large. It eats krill. |It sings."}));
  EXPECT_EQ(drawn(with({.titles = 0, .first_sentences = 0, .sentences = 1}, 1))
                .count("Whales\nA whale is large. It eats krill. It sings.|It eats krill."),
            1u);
  EXPECT_EQ(drawn(with({}, 0.5)).size(), 7u);  // the title, and each of three sentences taken out or left in
}

TEST_F(QuerySources, ALaneHasTheDocumentItsQueryAndNothingElse) {
  QuerySource source(config_, shape_);
  const auto examples = source.examples(1);
  const TokenBatch batch = source.next({1, 1});
  ASSERT_FALSE(examples.empty());
  std::size_t row = 0;
  for (const QueryExample& example : examples) {
    for (const std::int32_t token : example.document) {
      EXPECT_EQ(batch.inputs[row], token);
      EXPECT_EQ(batch.loss_weights[row], 0);
      EXPECT_EQ(batch.write_weights[row++], 1);
    }
    for (; row % 32 != 0; ++row) EXPECT_EQ(batch.write_weights[row], 0);
    EXPECT_EQ(batch.inputs[row], '\n');
    for (std::size_t i = 0; i < 32; ++i, ++row) {
      const bool asked = i < example.query.size();
      EXPECT_EQ(batch.loss_weights[row], asked ? 1 : 0);
      EXPECT_EQ(batch.write_weights[row], 0);
      EXPECT_EQ(batch.targets[row], asked ? example.query[i] : 0);
      if (asked && i > 0) {
        EXPECT_EQ(batch.inputs[row], example.query[i - 1]);
      }
      EXPECT_EQ(batch.documents[row], batch.documents[row - 32]);
    }
    EXPECT_TRUE(row == batch.documents.size() || batch.documents[row] == batch.documents[row - 1] + 1);
  }
  for (; row < batch.inputs.size(); ++row) EXPECT_EQ(batch.write_weights[row] + batch.loss_weights[row], 0);
}

TEST_F(QuerySources, TheDocumentsOwnTokensWeighWhatIsSaid) {
  QuerySource without(config_, shape_);
  const TokenBatch asked = without.next({0, 1});
  config_.text_loss = 0.25;
  QuerySource source(config_, shape_);
  const QueryExample example = source.examples(0).front();
  const TokenBatch batch = source.next({0, 1});
  EXPECT_EQ(batch.inputs, asked.inputs);
  const std::size_t last = example.document.size() - 1;
  for (std::size_t i = 0; i < last; ++i) {
    EXPECT_EQ(batch.targets[i], example.document[i + 1]);
    EXPECT_EQ(batch.loss_weights[i], 0.25F);
  }
  for (std::size_t i = last; batch.documents[i] == batch.documents[0]; ++i) {
    EXPECT_EQ(batch.targets[i], asked.targets[i]);
    EXPECT_EQ(batch.loss_weights[i], asked.loss_weights[i]);
  }
}

TEST_F(QuerySources, AreAFunctionOfSeedStepAndLane) {
  QuerySource whole(config_, shape_), shared(config_, shape_);
  nlohmann::json state;
  std::vector<TokenBatch> batches;
  for (int step = 0; step < 3; ++step) {
    if (step == 1) state = whole.state();
    batches.push_back(whole.next({0, 3}));
    const TokenBatch part = shared.next({2, 1});
    EXPECT_TRUE(std::ranges::equal(part.inputs, std::span(batches.back().inputs).last(256)));
    EXPECT_TRUE(std::ranges::equal(part.loss_weights, std::span(batches.back().loss_weights).last(256)));
    EXPECT_TRUE(std::ranges::equal(part.documents, std::span(batches.back().documents).last(256)));
  }
  EXPECT_NE(batches[1].inputs, batches[2].inputs);
  EXPECT_NE(batches[1].documents.front(), batches[0].documents.back());
  QuerySource resumed(config_, shape_);
  resumed.restore(state);
  EXPECT_EQ(resumed.next({0, 3}).inputs, batches[1].inputs);
  shape_.seed = 4;
  EXPECT_NE(QuerySource(config_, shape_).next({0, 3}).inputs, batches[0].inputs);
  EXPECT_THROW(QuerySource(config_, shape_).restore(state), ConfigError);
  EXPECT_THROW(resumed.restore({{"kind", "passkey"}}), ConfigError);
  EXPECT_THROW(resumed.restore({{"kind", "queries"}, {"task", state["task"]}, {"steps", -1}}), DataError);
  EXPECT_THROW(resumed.next({3, 1}), ConfigError);
}

TEST_F(QuerySources, DocumentsOfAGroupAreAskedEachOthersQueries) {
  write(
      "{\"title\": \"Whales\", \"text\": \"A whale is large. It sings.\"}\n{\"title\": \"Whales\", \"text\": \"They "
      "eat.\"}\n"
      "{\"title\": \"Ants\", \"text\": \"An ant is small.\"}\n{\"title\": \"Krill\", \"text\": \"\\u0078.\"}\n");
  shape_.sequence_length = 24 * 32;  // a group of three documents takes a segment and three queries each
  config_.contrast = {.weight = 0.5, .documents = 3};
  QuerySource source(config_, shape_);
  for (int step = 0; step < 10; ++step) {
    const auto examples = source.examples(2);
    const TokenBatch batch = source.next({2, 1});
    ASSERT_EQ(examples.size(), 6u);
    std::size_t row = 0;
    for (std::size_t own = 0; own < 6; ++own) {
      const std::size_t group = own / 3 * 3;
      for (std::size_t other = group; other < group + 3; ++other) {
        EXPECT_EQ(examples[own].place == examples[other].place, own == other);
        EXPECT_EQ(examples[own].query == examples[other].query, own == other);
      }
      for (const std::int32_t token : examples[own].document) EXPECT_EQ(batch.inputs[row++], token);
      row = (row + 31) / 32 * 32;
      for (std::size_t asked = group; asked < group + 3; ++asked) {
        const std::vector<std::int32_t>& query = examples[asked].query;
        EXPECT_EQ(batch.inputs[row], '\n');
        for (std::size_t i = 0; i < 32; ++i, ++row) {
          EXPECT_EQ(batch.queries[row], i < query.size() ? static_cast<std::int32_t>(asked) + 1 : 0);
          EXPECT_EQ(batch.loss_weights[row], i < query.size() && asked == own ? 1 : 0);
          EXPECT_EQ(batch.targets[row], i < query.size() ? query[i] : 0);
          EXPECT_EQ(batch.write_weights[row], 0);
          EXPECT_EQ(batch.documents[row], batch.documents[row - 1]);
        }
      }
    }
    EXPECT_EQ(row, batch.inputs.size());
  }
}

TEST_F(QuerySources, FewDocumentsWithAQueryAreFoundAndBlankTitlesAreNone) {
  std::string lines;
  for (int i = 0; i < 3000; ++i) lines += "{\"title\": \"\\n\\n\", \"text\": \"a\"}\n";
  write(lines +
        "{\"title\": \"Ants\", \"text\": \"b\"}\n{\"text\": \"c. D.\"}\n{\"title\": \"Bees\", \"text\": \"e\"}\n");
  QuerySource source(config_, shape_);
  for (int step = 0; step < 20; ++step, source.next({0, 3})) {
    for (std::int64_t lane = 0; lane < 3; ++lane) {
      ASSERT_EQ(source.examples(lane).size(), 4u);
      for (const QueryExample& example : source.examples(lane)) EXPECT_FALSE(example.text.starts_with('\n'));
    }
  }
  EXPECT_EQ(drawn(with({.titles = 1, .first_sentences = 0, .sentences = 0})),
            (std::set<std::string>{"b|Ants", "e|Bees"}));
}

TEST_F(QuerySources, AGroupIsFoundWhereverDocumentsHaveDifferentQueries) {
  // Draws make next to none: the one other sentence is a needle.
  std::string same;
  for (int i = 0; i < 1500; ++i) same += "{\"text\": \"A b. A b.\"}\n";
  write(same + "{\"text\": \"C d. C d.\"}\n" + same);
  config_.contrast = {.weight = 1, .documents = 2};
  for (shape_.seed = 0; shape_.seed < 4; ++shape_.seed) {
    const QuerySource source(config_, shape_);
    for (std::int64_t lane = 0; lane < 3; ++lane) {
      const auto examples = source.examples(lane);
      ASSERT_EQ(examples.size(), 2u);
      EXPECT_NE(examples[0].query, examples[1].query);
    }
  }
}

TEST_F(QuerySources, NoDocumentOfAGroupHasAnothersQueryInIt) {
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += "{\"title\": \"t" + std::to_string(i) + "\", \"text\": \"Of ants.\"}\n";
  write(lines + "{\"title\": \"ants\", \"text\": \"Six legs.\"}\n");
  shape_.sequence_length = 12 * 32;
  config_ = with({.titles = 1, .first_sentences = 0, .sentences = 0});
  config_.contrast = {.weight = 1, .documents = 3};
  QuerySource source(config_, shape_);
  for (int step = 0; step < 50; ++step, source.next({0, 3})) {
    const auto examples = source.examples(0);
    ASSERT_EQ(examples.size(), 3u);
    for (std::size_t i = 1; i < 3; ++i) EXPECT_NE(examples[i].text, "ants");  // whose group can't be made whole
  }
}

TEST_F(QuerySources, TheChecksumKnowsWhereATitleEnds) {
  write("{\"title\": \"ab\", \"text\": \"c\"}\n");
  const nlohmann::json one = QuerySource(config_, shape_).state();
  write("{\"title\": \"a\", \"text\": \"bc\"}\n");
  EXPECT_NE(QuerySource(config_, shape_).state(), one);
}

TEST_F(QuerySources, LongDocumentsAreCutAroundTheSentence) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Sentence number " + std::to_string(100 + i) + " stands here. ";
  write("{\"title\": \"Numbers\", \"text\": \"" + text + "\"}\n");
  QuerySource source(with({.titles = 1, .first_sentences = 1, .sentences = 8}), shape_);
  for (int step = 0; step < 20; ++step) {
    for (const QueryExample& example : source.examples(0)) {
      ASSERT_EQ(example.document.size(), 224u);
      EXPECT_EQ(example.document.front(), tokenizer_.begin_id());
      const std::string document = text_of(std::span(example.document).subspan(1)), query = text_of(example.query);
      if (query == "Numbers") {
        EXPECT_TRUE(document.starts_with("Sentence number 100"));
        continue;
      }
      EXPECT_EQ(example.query.size(), 32u);  // as long as fits behind the text between
      const int number = std::stoi(query.substr(16, 3));
      EXPECT_EQ(document.find(query.substr(0, 19)), std::string::npos);
      // A neighbour, or what of it the cut has left.
      EXPECT_TRUE((number > 100 && document.find(std::to_string(number - 1) + " stands here. ") != std::string::npos) ||
                  document.find(" Sentence number " + std::to_string(number + 1)) != std::string::npos ||
                  document.starts_with(" Sentence") || document.ends_with(" "))
          << number << ": " << document;
    }
    source.next({0, 3});
  }
}

TEST_F(QuerySources, WhatCannotBeIsNamed) {
  const auto message = [&](const QueryConfig& config) -> std::string {
    try {
      QuerySource(config, shape_);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_NE(message({.corpus = "", .tokenizer = "bytes"}).find("data.corpus is empty"), std::string::npos);
  EXPECT_NE(message({.corpus = config_.corpus}).find("data.tokenizer is empty"), std::string::npos);
  EXPECT_NE(message(with({0, 0, 0})).find("are all 0"), std::string::npos);
  QueryConfig config = config_;
  config.before = "";
  EXPECT_NE(message(config).find("data.before has 0 tokens, expected 1 to 31"), std::string::npos);
  write("{\"text\": \"One sentence.\"}\n");
  EXPECT_NE(message(config_).find("none of its 1 documents has a query: expected 1 or more, with titles, or"),
            std::string::npos);
  write("{\"text\": \"\"}\n");
  EXPECT_NE(message(config_).find("holds no documents"), std::string::npos);
  write("{\"text\": \"a\"}\n{\"text\": 3}\n");
  EXPECT_NE(message(config_).find("corpus.jsonl:2"), std::string::npos) << message(config_);
  config = with({.titles = 1, .first_sentences = 0, .sentences = 0});
  config.contrast = {.weight = 1, .documents = 2};
  write("{\"title\": \"same\", \"text\": \"a\"}\n{\"title\": \"same\", \"text\": \"b\"}\n");
  EXPECT_NE(message(config).find(
                "1 of its 2 documents have a query that is not another one's, but data.contrast_documents is 2"),
            std::string::npos);
  shape_.sequence_length = 5 * 32;
  EXPECT_NE(message(config).find("and 6 of them or more: a segment at least for each document and its 2 queries"),
            std::string::npos);
  shape_.sequence_length = 32;
  EXPECT_NE(message(config_).find("train.sequence_length is 32"), std::string::npos);
}

}  // namespace

}  // namespace palimpsest
