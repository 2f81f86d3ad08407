// The Recurrent Memory Transformer against a plain reference: memory tokens around segments, gradient over segments,
// documents, ragged ends and what a pass before has left.
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "layers/attention/registry.h"
#include "layers/decode_state.h"
#include "layers/model_flops.h"
#include "layers/pass_plan.h"
#include "tests/layers/plain_model.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"

namespace palimpsest {
namespace {

using testing::Dual;
using testing::PlainModel;
using testing::random_batch;
using testing::Rows;

ModelConfig config_of(std::int64_t memory_tokens) {
  ModelConfig config = testing::small_config(MemoryUpdate::linear);
  config.attention.kind = AttentionKind::recurrent_memory;
  config.attention.memory_tokens = memory_tokens;
  return config.resolved();
}

struct Memory {
  std::int64_t document = no_document;
  Rows rows;
};

Dual plain_loss(const PlainModel& model, const std::vector<TokenBatch>& batches) {
  Rows learned;
  for (std::int64_t i = 0; i < model.config.attention.memory_tokens; ++i) {
    learned.push_back(model.row("memory_tokens.weight", i));
  }
  std::vector<Memory> memories(static_cast<std::size_t>(batches.front().lanes));
  Dual loss;
  for (const TokenBatch& batch : batches) {
    loss = 0;
    for (Memory& memory : memories) memory.rows = testing::stopped(memory.rows);
    for (const testing::Piece& piece : testing::pieces_of(batch, model.config.segment_length)) {
      Memory& memory = memories[static_cast<std::size_t>(piece.lane)];
      const auto at = [&](std::int64_t t) { return static_cast<std::size_t>(piece.lane * batch.tokens + t); };
      if (batch.documents[at(piece.begin)] != memory.document || !piece.segment_begins) {
        memory = {batch.documents[at(piece.begin)], learned};
      }
      Rows x = memory.rows;
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        x.push_back(model.row("embed_tokens.weight", batch.inputs[at(t)]));
      }
      if (piece.segment_ends) testing::append(x, memory.rows);
      x = model.through_layers(x, [&](std::int64_t, const Rows& queries, const Rows& keys, const Rows& values) {
        return model.causal(queries, keys, values);
      });
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        const auto row = learned.size() + static_cast<std::size_t>(t - piece.begin);
        loss = loss + Dual(batch.loss_weights[at(t)]) * model.loss(x[row], batch.targets[at(t)]);
      }
      memory.rows = testing::last(x, model.config.attention.memory_tokens);
    }
  }
  return loss;
}

class RecurrentMemoryTest : public ::testing::TestWithParam<std::int64_t> {
 protected:
  MemoryPool pool;
};

TEST_P(RecurrentMemoryTest, EqualsThePlainModel) {
  LanguageModel model(pool, config_of(GetParam()), DataType::float64);
  model.initialize(1);
  // Documents that begin inside segments, at a segment's start and twice in one segment; ragged ends.
  TokenBatch first = random_batch(2, 8, 23, {4}), second = random_batch(2, 27, 23, {7, 15, 17, 18}, 6);
  for (auto& document : second.documents) document += 1;
  for (const Recompute recompute : {Recompute::none, Recompute::block, Recompute::segment}) {
    testing::compare_with_plain_model(model, pool, {first, second}, {Schedule::sequential, recompute}, plain_loss);
  }
  testing::compare_with_plain_model(model, pool, {random_batch(1, 13, 23, {})}, {Schedule::sequential, Recompute::none},
                                    plain_loss);
}

INSTANTIATE_TEST_SUITE_P(MemoryTokens, RecurrentMemoryTest, ::testing::Values(1, 3, 7));

TEST(RecurrentMemory, LanesWithDocumentsOfTheirOwnStayApart) {
  MemoryPool pool;
  LanguageModel model(pool, config_of(2), DataType::float64);
  model.initialize(2);
  // One lane has a document that begins in a segment, so that it has more rows there than the other.
  TokenBatch both = random_batch(2, 20, 23, {});
  for (std::size_t t = 12; t < 20; ++t) both.documents[t] = 1;
  SequenceState state = model.empty_state(pool, 2);
  const std::vector<double> together = token_losses(model, pool, both, state);
  for (std::int64_t lane = 0; lane < 2; ++lane) {
    TokenBatch alone;
    alone.lanes = 1;
    alone.tokens = 20;
    const auto of_lane = [&](const auto& all) {
      return std::decay_t<decltype(all)>(all.begin() + lane * 20, all.begin() + (lane + 1) * 20);
    };
    alone.inputs = of_lane(both.inputs);
    alone.targets = of_lane(both.targets);
    alone.documents = of_lane(both.documents);
    alone.loss_weights = of_lane(both.loss_weights);
    SequenceState own = model.empty_state(pool, 1);
    testing::expect_close(of_lane(together), token_losses(model, pool, alone, own), 1e-12);
  }
}

TEST(RecurrentMemory, SegmentsFollowEachOther) {
  MemoryPool pool;
  LanguageModel model(pool, config_of(2), DataType::float64);
  const TokenBatch batch = random_batch(1, 10, 23, {});
  SequenceState state = model.empty_state(pool, 1);
  EXPECT_THROW(accumulate_gradients(model, pool, batch, state, {Schedule::parallel, Recompute::none}), ConfigError);
  const auto plan = [&](Schedule schedule) {
    return plan_pass(model.config(), 1, 10, DataType::float32, schedule, Recompute::automatic, std::int64_t{1} << 40);
  };
  EXPECT_EQ(plan(Schedule::automatic).schedule, Schedule::sequential);
  EXPECT_EQ(plan(Schedule::automatic).recompute, Recompute::cheap);
  EXPECT_THROW(plan(Schedule::parallel), ConfigError);
}

TEST(RecurrentMemory, TraitsCountWhatPassesAndWhatIsKept) {
  const ModelConfig config = config_of(3);
  ModelConfig local = config;
  local.attention.kind = AttentionKind::local;
  EXPECT_EQ(config.parameters(), local.parameters() + 3 * 16);
  // 7 tokens in segments of 5 and 2, each with 6 rows more.
  const double matrices = 2.0 * 16 * (2 * 6 * 6 + 3 * 20) * 2 * 2 * 6;  // layers, segments, rows
  const double before = 2.0 * 4 * 4 * 6 * (5 * 6 / 2 + 2 * 3 / 2);      // rows x keys of tokens alone
  const double with_rows = 2.0 * 4 * 4 * 6 * (11 * 12 / 2 + 8 * 9 / 2);
  EXPECT_NEAR(inference_flops_per_token(config, 7),
              inference_flops_per_token(local, 7) + (matrices + with_rows - before) / 7, 1e-6);
  EXPECT_EQ(traits_of(AttentionKind::recurrent_memory).kept_numbers(config, 1000), 3 * 16);
  EXPECT_NO_THROW(require_carriable(AttentionKind::recurrent_memory, true));
  EXPECT_THROW(require_shareable(AttentionKind::recurrent_memory, 2), ConfigError);
}

}  // namespace
}  // namespace palimpsest
