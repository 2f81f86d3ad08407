// What is remembered of a document, against decoding token by token and against a pass with padding that is not
// written.
#include "launch/search/document_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>

#include "core/error.h"
#include "core/sequence_layout.h"
#include "data/stream/query_source.h"
#include "layers/decode_state.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

namespace {

using Tokens = std::vector<std::int32_t>;

Tokens some_tokens(std::size_t count, unsigned seed) {
  const std::string text = tiny_text(count, seed);
  return {text.begin(), text.end()};
}

class DocumentMemory : public testing::Test {
 protected:
  std::map<std::string, std::vector<double>> values_of(const SequenceState& state) const {
    std::map<std::string, std::vector<double>> values;
    state.for_each([&](const std::string& name, const Tensor& tensor) { values[name] = tensor.to_doubles(); });
    return values;
  }
  static void expect_near(const std::map<std::string, std::vector<double>>& found,
                          const std::map<std::string, std::vector<double>>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, values] : expected) {
      ASSERT_EQ(found.at(name).size(), values.size()) << name;
      for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(found.at(name)[i], values[i], 1e-4) << name;
    }
  }
  /// log p of the query's tokens by decoding them one by one.
  double decoded_likelihood(DecodeState state, const Tokens& before, const Tokens& query) const {
    Tensor logits = state.advance(before);
    double sum = 0;
    for (const std::int32_t token : query) {
      const auto row = logits.values<float>();
      double total = 0;
      for (const float logit : row) total += std::exp(static_cast<double>(logit));
      sum += row[static_cast<std::size_t>(token)] - std::log(total);
      logits = state.advance(token);
    }
    return sum / static_cast<double>(query.size());
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
  const Tokens before_ = some_tokens(2, 90), query_ = some_tokens(11, 91);
};

TEST_F(DocumentMemory, OfWholeSegmentsIsThatOfDecoding) {
  const Tokens tokens = some_tokens(24, 1);  // three segments
  const SequenceState memory = read_document(*model_, pool_, tokens);
  EXPECT_EQ(memory.tokens.front(), 24);
  DecodeState decoder(*model_, pool_);
  decoder.advance(tokens);
  std::map<std::string, std::vector<double>> expected;
  for (const auto& [name, tensor] : decoder.snapshot().tensors) {
    if (name.starts_with("state.")) expected[name.substr(6)] = tensor.to_doubles();
  }
  expect_near(values_of(memory), expected);
  // The query, longer than a segment, is as likely as decoding finds it.
  EXPECT_NEAR(query_log_likelihoods(*model_, pool_, memory, before_, query_).front(),
              decoded_likelihood(decoder, before_, query_), 1e-4);
}

TEST_F(DocumentMemory, TheLastSegmentIsWrittenWhateverItsLength) {
  for (const std::size_t length : {std::size_t{3}, std::size_t{19}}) {  // of 8: less than one, and two and a part
    const Tokens tokens = some_tokens(length, 2);
    Tokens padded = tokens;
    padded.resize((length + 7) / 8 * 8, 0);
    std::vector<float> weights(length, 1.0F);
    weights.resize(padded.size(), 0.0F);
    SequenceState expected = model_->empty_state(pool_, 1);
    const std::vector<std::int64_t> documents(padded.size(), 0);
    Tape tape(pool_, Tape::Mode::inference);
    const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, expected.documents, 8, weights));
    const auto result = model_->forward(model_->context(tape, layout, expected.tokens), padded, constants_of(expected));
    for (std::size_t layer = 0; layer < expected.layers.size(); ++layer) {
      for (std::size_t i = 0; i < expected.layers[layer].size(); ++i) {
        expected.layers[layer][i].tensor = result.state.layers[layer][i].value();
      }
    }
    const SequenceState memory = read_document(*model_, pool_, tokens);
    EXPECT_EQ(memory.tokens.front(), static_cast<std::int64_t>(length));
    expect_near(values_of(memory), values_of(expected));
  }
}

TEST_F(DocumentMemory, LanesAreAskedAlikeAndApart) {
  std::vector<SequenceState> memories;
  std::vector<double> alone;
  SequenceState together = model_->empty_state(pool_, 3);
  for (std::int64_t lane = 0; lane < 3; ++lane) {
    memories.push_back(read_document(*model_, pool_, some_tokens(5 + 10 * static_cast<std::size_t>(lane), 3)));
    alone.push_back(query_log_likelihoods(*model_, pool_, memories.back(), before_, query_).front());
    for (std::size_t layer = 0; layer < together.layers.size(); ++layer) {
      replace_lanes(pool_, together.layers[layer], std::vector{lane}, memories.back().layers[layer]);
    }
    together.tokens[static_cast<std::size_t>(lane)] = memories.back().tokens.front();
    together.documents[static_cast<std::size_t>(lane)] = 0;
  }
  const std::vector<double> found = query_log_likelihoods(*model_, pool_, together, before_, query_);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(found[i], alone[i], 1e-5);
  EXPECT_GT(std::abs(alone[0] - alone[1]), 1e-3) << "what was read makes a difference";
  EXPECT_LT(alone[0], 0);
  EXPECT_THROW(query_log_likelihoods(*model_, pool_, together, {}, query_), ShapeError);
  EXPECT_THROW(query_log_likelihoods(*model_, pool_, together, before_, {}), ShapeError);
}

TEST_F(DocumentMemory, SideBySideIsAsAlone) {
  const std::vector<AttentionConfig> kinds = {
      {},
      {.memory_update = MemoryUpdate::delta},
      {.memory_update = MemoryUpdate::delta, .memory_decay = true},
      {.memory_readout = MemoryReadout::rms, .overlap = 3},
      {.memory_update = MemoryUpdate::delta, .memory_shift = true},
      {.kind = AttentionKind::transformer_xl},
      {.kind = AttentionKind::recurrent_memory, .memory_tokens = 2},
      {.kind = AttentionKind::memorizing, .top_k = 2, .store_size = 32},
  };
  const std::vector<std::size_t> sizes = {17, 3, 24, 19, 8, 1, 17, 23, 5, 24, 3};  // of segments of 8
  std::vector<Tokens> documents;
  std::vector<std::int64_t> lengths;
  for (const std::size_t size : sizes) {
    documents.push_back(some_tokens(size, static_cast<unsigned>(documents.size())));
    lengths.push_back(static_cast<std::int64_t>(size));
  }
  for (const AttentionConfig& kind : kinds) {
    ModelConfig config = tiny_config();
    config.attention = kind;
    LanguageModel model(pool_, config.resolved(), DataType::float32);
    model.initialize(3);
    std::size_t read = 0, most = 0;
    for (const std::vector<std::size_t>& group : side_by_side(model, lengths, 4)) {
      std::vector<Tokens> together;
      together.reserve(group.size());
      for (const std::size_t place : group) together.push_back(documents[place]);
      const SequenceState state = read_documents(model, pool_, together);
      for (std::size_t lane = 0; lane < group.size(); ++lane) {
        EXPECT_EQ(state.tokens[lane], lengths[group[lane]]);
        EXPECT_EQ(state.documents[lane], 0);
        expect_near(values_of(select_lanes(pool_, state, std::vector{static_cast<std::int64_t>(lane)})),
                    values_of(read_document(model, pool_, together[lane])));
      }
      read += group.size();
      most = std::max(most, group.size());
    }
    EXPECT_EQ(read, documents.size());
    // Where what fills up a lane would be kept, only documents of one length go together.
    const bool ragged = kind.kind == AttentionKind::infini && kind.overlap == 0;
    EXPECT_EQ(most, ragged ? 4u : 2u);
    EXPECT_THROW(read_documents(model, pool_, std::vector<Tokens>{some_tokens(8, 1), some_tokens(9, 2)}), ShapeError);
    if (!ragged) {
      EXPECT_THROW(read_documents(model, pool_, std::vector<Tokens>{some_tokens(9, 1), some_tokens(10, 2)}),
                   ShapeError);
    }
  }
  EXPECT_THROW(read_documents(*model_, pool_, {}), ShapeError);
  // A document that fills a pass stands alone.
  EXPECT_EQ(side_by_side(*model_, std::vector<std::int64_t>{4000, 6, 3999}, 9),
            (std::vector<std::vector<std::size_t>>{{0}, {2}, {1}}));
}

TEST_F(DocumentMemory, TrainingAsksAsSearchDoes) {
  const TemporaryDirectory folder;
  const std::string corpus = (folder / "corpus.jsonl").string();
  std::ofstream(corpus) << "{\"title\": \"Whales\", \"text\": \"A whale is large. It eats krill.\"}\n";
  QuerySource source({.corpus = corpus, .tokenizer = "bytes"},
                     {.seed = 2, .sequence_length = 160, .segment_length = 8});
  const std::vector<QueryExample> examples = source.examples(0);
  const TokenBatch batch = source.next({0, 1});
  ASSERT_GT(examples.size(), 1u);
  SequenceState state = model_->empty_state(pool_, 1);
  const std::vector<double> losses = token_losses(*model_, pool_, batch, state);
  std::size_t row = 0;
  for (const QueryExample& example : examples) {
    double loss = 0;
    const std::int64_t document = batch.documents[row];
    for (; row < losses.size() && batch.documents[row] == document; ++row) {
      loss += batch.loss_weights[row] * losses[row];
    }
    const SequenceState memory = read_document(*model_, pool_, example.document);
    EXPECT_NEAR(-loss / static_cast<double>(example.query.size()),
                query_log_likelihoods(*model_, pool_, memory, Tokens{'\n'}, example.query).front(), 1e-4);
  }
}

TEST_F(DocumentMemory, ContrastAsksEveryDocumentAsSearchDoes) {
  const TemporaryDirectory folder;
  const std::string corpus = (folder / "corpus.jsonl").string();
  std::ofstream(corpus) << "{\"title\": \"Whales\", \"text\": \"A whale is large.\"}\n"
                           "{\"title\": \"Ants\", \"text\": \"An ant is small.\"}\n"
                           "{\"title\": \"Krill\", \"text\": \"Eaten.\"}\n";
  QuerySource source({.corpus = corpus, .tokenizer = "bytes", .contrast = {.weight = 1, .documents = 3}},
                     {.seed = 2, .sequence_length = 256, .segment_length = 8});
  const std::vector<QueryExample> examples = source.examples(0);
  const TokenBatch batch = source.next({0, 1});
  ASSERT_EQ(examples.size() % 3, 0u);
  ASSERT_GT(examples.size(), 3u);
  SequenceState state = model_->empty_state(pool_, 1);
  const std::vector<double> losses = token_losses(*model_, pool_, batch, state);
  std::map<std::pair<std::int64_t, std::int32_t>, double> asked;  // by document and query
  for (std::size_t row = 0; row < losses.size(); ++row) {
    if (batch.queries[row] > 0) asked[{batch.documents[row], batch.queries[row]}] += losses[row];
  }
  ASSERT_EQ(asked.size(), 3 * examples.size());
  for (const auto& [pair, loss] : asked) {
    const QueryExample& document = examples[static_cast<std::size_t>(pair.first)];
    const Tokens& query = examples[static_cast<std::size_t>(pair.second) - 1].query;
    const SequenceState memory = read_document(*model_, pool_, document.document);
    EXPECT_NEAR(-loss / static_cast<double>(query.size()),
                query_log_likelihoods(*model_, pool_, memory, Tokens{'\n'}, query).front(), 1e-4);
  }
}

TEST_F(DocumentMemory, StopsWhereItIsTold) {
  // 4096 rows at once.
  const SequenceState memory = read_document(*model_, pool_, some_tokens(5000, 4), [] { return false; });
  EXPECT_EQ(memory.tokens.front(), 4096);
}

TEST_F(DocumentMemory, NeedsAMemoryOfConstantSize) {
  require_document_memory(*model_);
  for (const AttentionKind kind : {AttentionKind::local, AttentionKind::full}) {
    ModelConfig config = tiny_config();
    config.attention.kind = kind;
    EXPECT_THROW(require_document_memory(LanguageModel(pool_, config.resolved(), DataType::float32)), ConfigError);
  }
}

}  // namespace

}  // namespace palimpsest
