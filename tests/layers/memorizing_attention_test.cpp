// The Memorizing Transformer's attention against a plain reference: the nearest of stored keys and values, the gate,
// documents, ragged ends and what a pass before has left.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "layers/attention/registry.h"
#include "layers/model_flops.h"
#include "tests/layers/plain_model.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"

namespace palimpsest {
namespace {

using testing::Dual;
using testing::PlainModel;
using testing::random_batch;
using testing::Row;
using testing::Rows;

ModelConfig config_of(std::int64_t top_k, std::int64_t store_size, std::int64_t layer = -1) {
  ModelConfig config = testing::small_config(MemoryUpdate::linear);
  config.attention.kind = AttentionKind::memorizing;
  config.attention.top_k = top_k;
  config.attention.store_size = store_size;
  config.attention.memory_layer = layer;
  return config.resolved();
}

/// Keys and values that a lane has stored of its document.
struct Store {
  std::int64_t document = no_document;
  Rows keys, values;
};

/// What a head of a query finds.
Row looked_up(const PlainModel& model, const Row& query, std::int64_t head, const Store& store) {
  std::vector<std::pair<double, std::size_t>> order;
  Row scores;
  for (std::size_t j = 0; j < store.keys.size(); ++j) {
    scores.push_back(PlainModel::dot(model.head_of(query, head), model.head_of(store.keys[j], model.kv_head(head))));
    order.emplace_back(-scores.back().value, j);
  }
  std::ranges::sort(order);
  Row nearest;
  Rows values;
  for (std::size_t i = 0; i < order.size() && static_cast<std::int64_t>(i) < model.config.attention.top_k; ++i) {
    nearest.push_back(scores[order[i].second]);
    values.push_back(model.head_of(store.values[order[i].second], model.kv_head(head)));
  }
  return model.softmax_sum(nearest, values);
}

Rows seen(const PlainModel& model, std::int64_t layer, const Rows& queries, const Rows& keys, const Rows& values,
          Store& store) {
  Rows result = model.causal(queries, keys, values);
  if (layer != model.config.attention.memory_layer) return result;
  const Row& beta = model.parameter("layers." + std::to_string(layer) + ".self_attn.memory_gate");
  for (std::size_t t = 0; t < queries.size() && !store.keys.empty(); ++t) {
    for (std::int64_t head = 0; head < model.config.num_heads; ++head) {
      const Dual g = sigmoid(beta[static_cast<std::size_t>(head)]);
      const Row found = looked_up(model, queries[t], head, store);
      for (std::size_t i = 0; i < found.size(); ++i) {
        Dual& mixed = result[t][static_cast<std::size_t>(head * model.config.head_size) + i];
        mixed = g * found[i] + (Dual(1) - g) * mixed;
      }
    }
  }
  testing::append(store.keys, testing::stopped(keys));
  testing::append(store.values, testing::stopped(values));
  store.keys = testing::last(store.keys, model.config.attention.store_size);
  store.values = testing::last(store.values, model.config.attention.store_size);
  return result;
}

Dual plain_loss(const PlainModel& model, const std::vector<TokenBatch>& batches) {
  std::vector<Store> stores(static_cast<std::size_t>(batches.front().lanes));
  Dual loss;
  for (const TokenBatch& batch : batches) {
    loss = 0;
    for (const testing::Piece& piece : testing::pieces_of(batch, model.config.segment_length)) {
      Store& store = stores[static_cast<std::size_t>(piece.lane)];
      const auto at = [&](std::int64_t t) { return static_cast<std::size_t>(piece.lane * batch.tokens + t); };
      if (batch.documents[at(piece.begin)] != store.document || !piece.segment_begins) {
        store = {batch.documents[at(piece.begin)], {}, {}};
      }
      Rows x;
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        x.push_back(model.row("embed_tokens.weight", batch.inputs[at(t)]));
      }
      x = model.through_layers(x, [&](std::int64_t layer, const Rows& queries, const Rows& keys, const Rows& values) {
        return seen(model, layer, queries, keys, values, store);
      });
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        loss = loss + Dual(batch.loss_weights[at(t)]) *
                          model.loss(x[static_cast<std::size_t>(t - piece.begin)], batch.targets[at(t)]);
      }
    }
  }
  return loss;
}

struct Case {
  const char* name;
  std::int64_t top_k, store_size, layer;
};

class Memorizing : public ::testing::TestWithParam<Case> {
 protected:
  MemoryPool pool;
};

TEST_P(Memorizing, EqualsThePlainModel) {
  const auto& [name, top_k, store_size, layer] = GetParam();
  LanguageModel model(pool, config_of(top_k, store_size, layer), DataType::float64);
  model.initialize(1);
  // Documents that begin inside segments, at a segment's start and twice in one segment; ragged ends.
  TokenBatch first = random_batch(2, 8, 23, {4}), second = random_batch(2, 27, 23, {7, 15, 17, 18}, 6);
  for (auto& document : second.documents) document += 1;
  for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
    testing::compare_with_plain_model(model, pool, {first, second}, {schedule, Recompute::none}, plain_loss);
  }
  testing::compare_with_plain_model(model, pool, {second}, {Schedule::sequential, Recompute::segment}, plain_loss);
}

INSTANTIATE_TEST_SUITE_P(Stores, Memorizing,
                         ::testing::Values(Case{"AllThatIsStored", 100, 100, 0}, Case{"TheNearest", 3, 100, 1},
                                           Case{"TheNearestOfTheLast", 2, 7, 0}, Case{"TheNearestOne", 1, 100, 0}),
                         [](const auto& info) { return info.param.name; });

TEST(MemorizingTraits, CountWhatIsSearchedAndKept) {
  ModelConfig config = config_of(4, 7);
  EXPECT_EQ(config.attention.memory_layer, 1) << "three quarters of two layers";
  EXPECT_EQ(kind_of_layer(config, 0), AttentionKind::local);
  EXPECT_EQ(kind_of_layer(config, 1), AttentionKind::memorizing);
  EXPECT_THROW(config_of(4, 7, 2), ConfigError);
  config.num_layers = 12;
  config.attention.memory_layer = -1;
  EXPECT_EQ(config.resolved().attention.memory_layer, 8) << "the ninth of twelve";
  config = config_of(4, 7);
  ModelConfig local = config;
  local.attention.kind = AttentionKind::local;
  EXPECT_EQ(config.parameters(), local.parameters() + 4) << "the gate of one layer";
  // Of 12 tokens in segments of 5, 5 and 2 the store holds 0, 5 and 7, of which 4 are found.
  const double stored = 3 * 2.0 * 4 * 6 * (5 * (5 + 4) + 2 * (7 + 4)) / 12;
  EXPECT_NEAR(training_flops_per_token(config, 12), training_flops_per_token(local, 12) + stored, 1e-6);
  const AttentionTraits& traits = traits_of(AttentionKind::memorizing);
  EXPECT_EQ(traits.kept_numbers(config, 3), 3 * 2 * 2 * 6);
  EXPECT_EQ(traits.kept_numbers(config, 1000), 7 * 2 * 2 * 6);
  EXPECT_NO_THROW(require_carriable(AttentionKind::memorizing, true));
  EXPECT_THROW(require_shareable(AttentionKind::memorizing, 2), ConfigError);
}

}  // namespace
}  // namespace palimpsest
