// Transformer-XL's attention against a plain reference: cached keys and values, with gradient and without, documents,
// ragged ends and what a pass before has left.
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
using testing::Rows;

ModelConfig config_of(std::int64_t cache_length, bool cache_gradient) {
  ModelConfig config = testing::small_config(MemoryUpdate::linear);
  config.attention.kind = AttentionKind::transformer_xl;
  config.attention.cache_length = cache_length;
  config.attention.cache_gradient = cache_gradient;
  return config.resolved();
}

/// Keys and values that a lane has of its document, of every layer.
struct Cache {
  std::int64_t document = no_document;
  std::vector<Rows> keys, values;
};

Dual plain_loss(const PlainModel& model, const std::vector<TokenBatch>& batches) {
  const AttentionConfig& options = model.config.attention;
  const auto layers = static_cast<std::size_t>(model.config.num_layers);
  std::vector<Cache> caches(static_cast<std::size_t>(batches.front().lanes));
  Dual loss;
  for (const TokenBatch& batch : batches) {
    loss = 0;
    for (Cache& cache : caches) {
      for (Rows& rows : cache.keys) rows = testing::stopped(rows);
      for (Rows& rows : cache.values) rows = testing::stopped(rows);
    }
    for (const testing::Piece& piece : testing::pieces_of(batch, model.config.segment_length)) {
      Cache& cache = caches[static_cast<std::size_t>(piece.lane)];
      const auto at = [&](std::int64_t t) { return static_cast<std::size_t>(piece.lane * batch.tokens + t); };
      if (batch.documents[at(piece.begin)] != cache.document || !piece.segment_begins) {
        cache = {batch.documents[at(piece.begin)], std::vector<Rows>(layers), std::vector<Rows>(layers)};
      }
      Rows x;
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        x.push_back(model.row("embed_tokens.weight", batch.inputs[at(t)]));
      }
      x = model.through_layers(x, [&](std::int64_t layer, const Rows& queries, const Rows& keys, const Rows& values) {
        Rows &all_keys = cache.keys[static_cast<std::size_t>(layer)],
             &all_values = cache.values[static_cast<std::size_t>(layer)];
        if (!options.cache_gradient) {
          all_keys = testing::stopped(all_keys);
          all_values = testing::stopped(all_values);
        }
        testing::append(all_keys, keys);
        testing::append(all_values, values);
        const Rows result = model.causal(queries, all_keys, all_values);
        all_keys = testing::last(all_keys, options.cache_length);
        all_values = testing::last(all_values, options.cache_length);
        return result;
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
  std::int64_t cache_length;
  bool cache_gradient;
};

class TransformerXl : public ::testing::TestWithParam<Case> {
 protected:
  MemoryPool pool;
};

TEST_P(TransformerXl, EqualsThePlainModel) {
  LanguageModel model(pool, config_of(GetParam().cache_length, GetParam().cache_gradient), DataType::float64);
  model.initialize(1);
  // Documents that begin inside segments, at a segment's start and twice in one segment; ragged ends.
  TokenBatch first = random_batch(2, 8, 23, {4}), second = random_batch(2, 27, 23, {7, 15, 17, 18}, 6);
  for (auto& document : second.documents) document += 1;
  for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
    testing::compare_with_plain_model(model, pool, {first, second}, {schedule, Recompute::none}, plain_loss);
  }
  testing::compare_with_plain_model(model, pool, {second}, {Schedule::sequential, Recompute::segment}, plain_loss);
}

INSTANTIATE_TEST_SUITE_P(Caches, TransformerXl,
                         ::testing::Values(Case{"Segment", 5, false}, Case{"SegmentWithGradient", 5, true},
                                           Case{"PartOfASegment", 3, false}, Case{"SegmentsAndAHalf", 13, false},
                                           Case{"SegmentsAndAHalfWithGradient", 13, true}),
                         [](const auto& info) { return info.param.name; });

TEST(TransformerXlTraits, CountWhatIsSeenAndKept) {
  ModelConfig config = config_of(0, false);
  EXPECT_EQ(config.attention.cache_length, 5) << "a segment";
  config.attention.cache_length = 7;
  // Of 12 tokens in segments of 5, 5 and 2 the cache holds 0, 5 and 7.
  ModelConfig local = config;
  local.attention.kind = AttentionKind::local;
  const double cached = 3.0 * 2 * 4 * 4 * 6 * (5.0 * 5 + 2 * 7) / 12;
  EXPECT_NEAR(training_flops_per_token(config, 12), training_flops_per_token(local, 12) + cached, 1e-6);
  const AttentionTraits& traits = traits_of(AttentionKind::transformer_xl);
  EXPECT_EQ(traits.kept_numbers(config, 3), 2 * 3 * 2 * 2 * 6);
  EXPECT_EQ(traits.kept_numbers(config, 1000), 2 * 7 * 2 * 2 * 6) << "layers x tokens x (key, value) x kv_heads x d";
  EXPECT_EQ(describe_kept_numbers(config), "336 numbers a sequence");
  EXPECT_NO_THROW(require_carriable(AttentionKind::transformer_xl, true));
  EXPECT_THROW(require_shareable(AttentionKind::transformer_xl, 2), ConfigError);
}

}  // namespace
}  // namespace palimpsest
