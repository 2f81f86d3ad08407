// What the model must never do, and the equality of the ways to compute it: causality, no leak
// between documents, gradients through the memory, recomputation, schedules, decoding.
#include "layers/language_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "core/sequence_layout.h"
#include "layers/decode_state.h"
#include "layers/rows_at_once.h"
#include "layers/training_pass.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;
using testing::random_batch;
using testing::small_config;

bool same_bits(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.raw(), b.raw()); }

double difference(const Tensor& a, const Tensor& b) {
  return testing::relative_difference(a.to_doubles(), b.to_doubles());
}

class LanguageModelTest : public ::testing::TestWithParam<MemoryUpdate> {
 protected:
  MemoryPool pool;
};

TEST_P(LanguageModelTest, ATokenChangesNoLogitBeforeIt) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  model.initialize(1);
  const TokenBatch batch = random_batch(1, 17, 23, {});
  SequenceState memory = model.empty_state(pool, 1);
  const Tensor before = logits(model, pool, batch, memory).reshaped(Shape{17, 23});
  for (std::int64_t changed = 0; changed < 17; ++changed) {
    TokenBatch other = batch;
    auto& token = other.inputs[static_cast<std::size_t>(changed)];
    token = (token + 1) % 23;
    memory = model.empty_state(pool, 1);
    const Tensor after = logits(model, pool, other, memory).reshaped(Shape{17, 23});
    EXPECT_TRUE(same_bits(before.rows(0, changed), after.rows(0, changed))) << "token " << changed;
    for (std::int64_t later = changed; later < 17; ++later) {
      EXPECT_FALSE(same_bits(before.rows(later, later + 1), after.rows(later, later + 1)))
          << "token " << changed << " does not reach " << later;
    }
  }
}

TEST_P(LanguageModelTest, ADocumentChangesNoLossOfAnother) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  model.initialize(2);
  const std::vector<std::int64_t> boundaries{3, 5, 13, 14};  // mid-segment, at a boundary, a single token
  const TokenBatch batch = random_batch(1, 24, 23, boundaries);
  SequenceState memory = model.empty_state(pool, 1);
  const std::vector<double> before = token_losses(model, pool, batch, memory);
  for (std::int64_t document = 0; document <= 4; ++document) {
    TokenBatch other = batch;
    for (std::size_t i = 0; i < other.inputs.size(); ++i) {
      if (other.documents[i] == document) other.inputs[i] = (other.inputs[i] + 7) % 23;
    }
    memory = model.empty_state(pool, 1);
    const std::vector<double> after = token_losses(model, pool, other, memory);
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (batch.documents[i] == document) {
        EXPECT_NE(before[i], after[i]);
      } else {
        EXPECT_EQ(before[i], after[i]) << "document " << document << " changed the loss of token " << i;
      }
    }
  }
}

TEST_P(LanguageModelTest, ADocumentInMidSegmentStartsAsIfAlone) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  model.initialize(3);
  const TokenBatch packed = random_batch(1, 20, 23, {10});  // the second document starts with a segment
  SequenceState memory = model.empty_state(pool, 1);
  const std::vector<double> together = token_losses(model, pool, packed, memory);
  TokenBatch alone{1,
                   10,
                   {packed.inputs.begin() + 10, packed.inputs.end()},
                   {packed.targets.begin() + 10, packed.targets.end()},
                   std::vector<std::int64_t>(10, 0),
                   std::vector<float>(10, 1.0f)};
  memory = model.empty_state(pool, 1);
  const std::vector<double> apart = token_losses(model, pool, alone, memory);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_NEAR(together[10 + i], apart[i], 1e-12);
}

TEST_P(LanguageModelTest, LastLossReachesTheFirstSegmentThroughTheMemory) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  model.initialize(4);
  TokenBatch batch = random_batch(1, 20, 23, {});
  std::fill(batch.loss_weights.begin(), batch.loss_weights.end() - 5, 0.0f);  // only the last of four segments
  for (std::size_t i = 0; i < 5; ++i) batch.inputs[i] = 22;                   // a token of the first segment alone
  for (std::size_t i = 5; i < 20; ++i) batch.inputs[i] %= 22;
  Parameter& table = model.parameters().find("embed_tokens.weight");
  for (const PassOptions& options : {PassOptions{Schedule::sequential, Recompute::none, 1.0},
                                     PassOptions{Schedule::sequential, Recompute::segment, 1.0},
                                     PassOptions{Schedule::parallel, Recompute::none, 1.0}}) {
    const Tensor gradient = gradients(model, pool, batch, model.empty_state(pool, 1), options).parameters.front();
    for (std::int64_t column = 0; column < 16; ++column) {
      double& entry = table.master.data<double>()[22 * 16 + column];
      const double kept = entry, step = 1e-5;
      const auto loss = [&](double value) {
        entry = value;
        SequenceState memory = model.empty_state(pool, 1);
        const std::vector<double> losses = token_losses(model, pool, batch, memory);
        double sum = 0;
        for (std::size_t i = 15; i < 20; ++i) sum += losses[i];
        return sum;
      };
      const double numeric = (loss(kept + step) - loss(kept - step)) / (2 * step);
      entry = kept;
      const double analytic = std::as_const(gradient).data<double>()[22 * 16 + column];
      EXPECT_GT(std::abs(numeric), 1e-7);
      EXPECT_NEAR(analytic, numeric, 1e-6 * std::abs(numeric) + 1e-9) << "column " << column;
    }
  }
}

TEST_P(LanguageModelTest, RecomputationGivesTheSameBits) {
  for (const bool tied : {false, true}) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      ModelConfig config = small_config(GetParam());
      config.tie_embeddings = tied;
      LanguageModel model(pool, config, type);
      model.initialize(5);
      const TokenBatch batch = random_batch(3, 23, 23, {4, 11});
      const auto run = [&](Schedule schedule, Recompute recompute) {
        return gradients(model, pool, batch, model.empty_state(pool, 3), {schedule, recompute, 0.1});
      };
      const auto expect_same = [&](const Gradients& kept, const Gradients& again, Recompute recompute) {
        EXPECT_EQ(kept.loss, again.loss) << name_of(recompute);
        for (std::size_t i = 0; i < kept.parameters.size(); ++i) {
          EXPECT_TRUE(same_bits(kept.parameters[i], again.parameters[i]))
              << name_of(recompute) << " " << model.parameters().all()[i].name;
        }
        for (std::size_t i = 0; i < kept.memory.layers.size(); ++i) {
          EXPECT_TRUE(same_bits(kept.memory.layers[i][0].tensor, again.memory.layers[i][0].tensor))
              << name_of(recompute);
        }
      };
      for (const Schedule schedule : {Schedule::sequential, Schedule::parallel}) {
        const Gradients kept = run(schedule, Recompute::none);
        expect_same(kept, run(schedule, Recompute::cheap), Recompute::cheap);
        expect_same(kept, run(schedule, Recompute::block), Recompute::block);
        if (schedule == Schedule::sequential) expect_same(kept, run(schedule, Recompute::segment), Recompute::segment);
      }
    }
  }
}

TEST_P(LanguageModelTest, SchedulesAgreeOnAnyLayout) {
  for (std::uint64_t trial = 0; trial < 12; ++trial) {
    const Random random(trial, RandomPurpose::test, 9);
    ModelConfig config = small_config(GetParam());
    config.num_kv_heads = trial % 3 == 0 ? 1 : trial % 3 == 1 ? 2 : 4;
    config.segment_length = 1 + static_cast<std::int64_t>(random.below(0, 7));
    config.attention.empty_memory = trial % 2 ? EmptyMemory::gated : EmptyMemory::local;
    LanguageModel model(pool, config, DataType::float64);
    model.initialize(trial);
    const auto tokens = 1 + static_cast<std::int64_t>(random.below(1, 30));
    std::vector<std::int64_t> boundaries;
    for (std::int64_t t = 1; t < tokens; ++t) {
      if (random.uniform(static_cast<std::uint64_t>(10 + t)) < 0.15) boundaries.push_back(t);
    }
    TokenBatch first = random_batch(2, tokens, 23, boundaries, trial), second = random_batch(2, 9, 23, {3}, trial + 50);
    for (auto& document : second.documents) document += first.documents.back();  // goes on with the last one
    std::vector<Gradients> results;
    for (const Schedule schedule : {Schedule::sequential, Schedule::parallel}) {
      const PassOptions options{schedule, Recompute::none, 1.0};
      const Gradients before = gradients(model, pool, first, model.empty_state(pool, 2), options);
      results.push_back(gradients(model, pool, second, before.memory, options));
      results.push_back(before);
    }
    for (std::size_t half = 0; half < 2; ++half) {
      const Gradients &a = results[half], &b = results[half + 2];
      EXPECT_NEAR(a.loss, b.loss, 1e-9 * std::abs(a.loss));
      for (std::size_t i = 0; i < a.parameters.size(); ++i) {
        EXPECT_LT(difference(a.parameters[i], b.parameters[i]), 1e-9) << model.parameters().all()[i].name;
      }
    }
  }
}

TEST_P(LanguageModelTest, CarriedMemoryEqualsOneLongSequence) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float64);
  model.initialize(6);
  const TokenBatch whole = random_batch(1, 20, 23, {7});
  SequenceState memory = model.empty_state(pool, 1);
  const std::vector<double> expected = token_losses(model, pool, whole, memory);
  memory = model.empty_state(pool, 1);
  std::vector<double> parts;
  for (std::int64_t begin = 0; begin < 20; begin += 10) {
    TokenBatch half{1, 10, {}, {}, {}, {}};
    const auto cut = [&](const auto& from, auto& to) { to.assign(from.begin() + begin, from.begin() + begin + 10); };
    cut(whole.inputs, half.inputs);
    cut(whole.targets, half.targets);
    cut(whole.documents, half.documents);
    cut(whole.loss_weights, half.loss_weights);
    const std::vector<double> losses = token_losses(model, pool, half, memory);
    parts.insert(parts.end(), losses.begin(), losses.end());
  }
  for (std::size_t i = 0; i < 20; ++i) EXPECT_NEAR(parts[i], expected[i], 1e-12);
}

/// More rows than the caches hold: lanes are read in groups, each with its own state.
TEST_P(LanguageModelTest, ManyLanesAreReadInGroups) {
  ModelConfig config = small_config(GetParam());
  config.attention.overlap = 2;
  ASSERT_EQ(lanes_at_once(config, 7, 1000), 4);
  EXPECT_EQ(lanes_at_once(config, 4, 1000), 4);
  EXPECT_EQ(lanes_at_once(config, 3, 5000), 1);
  LanguageModel model(pool, config, DataType::float64);
  model.initialize(8);
  TokenBatch batch = random_batch(7, 1000, 23, {600});
  SequenceState state = model.empty_state(pool, 7);
  token_losses(model, pool, batch, state);
  const SequenceState before = state;
  for (std::int64_t& document : batch.documents) ++document;          // the last one of the batch before goes on
  std::fill(batch.documents.end() - 1000, batch.documents.end(), 9);  // but in one lane
  const std::vector<double> losses = token_losses(model, pool, batch, state);
  for (std::int64_t lane = 0; lane < 7; ++lane) {
    SequenceState alone = select_lanes(pool, before, std::vector{lane});
    const std::vector<double> expected = token_losses(model, pool, lanes_of(batch, lane, lane + 1), alone);
    for (std::size_t i = 0; i < 1000; ++i) {
      ASSERT_NEAR(losses[static_cast<std::size_t>(lane) * 1000 + i], expected[i], 1e-12) << lane;
    }
    const SequenceState after = select_lanes(pool, state, std::vector{lane});
    EXPECT_EQ(after.documents, alone.documents);
    EXPECT_EQ(after.tokens, alone.tokens);
    for (std::size_t layer = 0; layer < after.layers.size(); ++layer) {
      for (std::size_t i = 0; i < after.layers[layer].size(); ++i) {
        EXPECT_LT(difference(after.layers[layer][i].tensor, alone.layers[layer][i].tensor), 1e-12) << lane;
      }
    }
  }
}

TEST_P(LanguageModelTest, DecodingEqualsOnePass) {
  for (const EmptyMemory empty : {EmptyMemory::local, EmptyMemory::gated}) {
    ModelConfig config = small_config(GetParam());
    config.attention.empty_memory = empty;
    LanguageModel model(pool, config, DataType::float64);
    model.initialize(7);
    const TokenBatch batch = random_batch(1, 23, 23, {});
    SequenceState memory = model.empty_state(pool, 1);
    const Tensor expected = logits(model, pool, batch, memory).reshaped(Shape{23, 23});
    for (const std::int64_t prompt : {1, 4, 5, 12, 23}) {
      DecodeState decoder(model, pool);
      std::span<const std::int32_t> tokens = batch.inputs;
      Tensor logits = decoder.advance(tokens.first(static_cast<std::size_t>(prompt)));
      for (std::int64_t t = prompt;; ++t) {
        EXPECT_LT(difference(logits, expected.rows(t - 1, t).reshaped(Shape{23})), 1e-10)
            << "prompt " << prompt << ", token " << t - 1;
        if (t == 23) break;
        logits = decoder.advance(tokens[static_cast<std::size_t>(t)]);
      }
      EXPECT_EQ(decoder.tokens(), 23);
    }
  }
}

TEST_P(LanguageModelTest, DecodingTakesConstantMemory) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float32);
  model.initialize(8);
  MemoryPool step_pool;
  DecodeState decoder(model, step_pool);
  std::size_t peak = 0;
  for (std::int32_t t = 0; t < 200; ++t) {
    decoder.advance(t % 23);
    if (t == 20) peak = step_pool.statistics().peak_bytes_in_use;
  }
  EXPECT_EQ(step_pool.statistics().peak_bytes_in_use, peak);
}

TEST_P(LanguageModelTest, BfloatAgreesWithFloat) {
  ModelConfig config = small_config(GetParam());
  config.initializer_range = 0.1;
  LanguageModel exact(pool, config, DataType::float32), rounded(pool, config, DataType::bfloat16);
  exact.initialize(9);
  rounded.initialize(9);
  const TokenBatch batch = random_batch(2, 23, 23, {4, 11});
  const Gradients a = gradients(exact, pool, batch, exact.empty_state(pool, 2), {});
  const Gradients b = gradients(rounded, pool, batch, rounded.empty_state(pool, 2), {});
  EXPECT_NEAR(a.loss, b.loss, 0.01 * a.loss);
  for (std::size_t i = 0; i < a.parameters.size(); ++i) {
    EXPECT_EQ(b.parameters[i].data_type(), DataType::float32);
    EXPECT_LT(difference(b.parameters[i], a.parameters[i]), 0.1) << exact.parameters().all()[i].name;
  }
}

TEST_P(LanguageModelTest, ASteadyStepAsksTheSystemForNothing) {
  LanguageModel model(pool, small_config(GetParam()), DataType::float32);
  model.initialize(10);
  MemoryPool step_pool;
  const TokenBatch batch = random_batch(2, 23, 23, {4, 11});
  SequenceState memory = model.empty_state(step_pool, 2);
  std::size_t committed = 0;
  for (int step = 0; step < 6; ++step) {
    memory = gradients(model, step_pool, batch, model.empty_state(step_pool, 2), {}).memory;
    if (step == 1) committed = step_pool.statistics().committed_bytes;
  }
  EXPECT_EQ(step_pool.statistics().committed_bytes, committed);
}

INSTANTIATE_TEST_SUITE_P(Rules, LanguageModelTest, ::testing::Values(MemoryUpdate::linear, MemoryUpdate::delta),
                         [](const auto& info) { return info.param == MemoryUpdate::delta ? "delta" : "linear"; });

TEST(LanguageModel, CountsItsParameters) {
  MemoryPool pool;
  for (const bool tied : {false, true}) {
    ModelConfig config = small_config(MemoryUpdate::linear);
    config.tie_embeddings = tied;
    EXPECT_EQ(LanguageModel(pool, config, DataType::float32).parameters().elements(), config.parameters());
  }
}

TEST(LanguageModel, MemoryOfSelectedLanes) {
  MemoryPool pool;
  LanguageModel model(pool, small_config(MemoryUpdate::linear), DataType::float32);
  model.initialize(11);
  SequenceState memory = model.empty_state(pool, 3);
  token_losses(model, pool, random_batch(3, 7, 23, {}), memory);
  const std::vector<std::int64_t> lanes{2, 0};
  const SequenceState chosen = select_lanes(pool, memory, lanes);
  EXPECT_TRUE(same_bits(chosen.layers[1][0].tensor.rows(0, 1), memory.layers[1][0].tensor.rows(2, 3)));
  EXPECT_TRUE(same_bits(chosen.layers[0][1].tensor.rows(1, 2), memory.layers[0][1].tensor.rows(0, 1)));
  EXPECT_THROW(select_lanes(pool, memory, std::vector<std::int64_t>{3}), ShapeError);
}

}  // namespace
}  // namespace palimpsest
