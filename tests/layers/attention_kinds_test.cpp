// Every kind of attention behind the one seam: causality, documents, schedules, recomputation, carried state, decoding
// of many texts at once, and a plain reference for local and full attention.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/sequence_layout.h"
#include "layers/attention/registry.h"
#include "layers/decode_state.h"
#include "layers/training_pass.h"
#include "tests/layers/every_attention.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;
using testing::NamedAttention;
using testing::random_batch;

double difference(const Tensor& a, const Tensor& b) {
  return testing::relative_difference(a.to_doubles(), b.to_doubles());
}

std::vector<NamedAttention> kinds_and_options() {
  const double gate = 0.4;
  return {
      {"infini", {.initial_gate = gate}},
      {"local", {.kind = AttentionKind::local}},
      {"full", {.kind = AttentionKind::full}},
      {"transformer_xl", {.kind = AttentionKind::transformer_xl}},
      {"recurrent_memory", {.kind = AttentionKind::recurrent_memory}},
      {"memorizing", {.kind = AttentionKind::memorizing}},
      {"infini_rms", {.initial_gate = gate, .memory_readout = MemoryReadout::rms}},
      {"infini_add", {.initial_gate = gate, .gate = GateKind::add}},
      {"infini_decay", {.initial_gate = gate, .memory_decay = true}},
      {"infini_delta_decay", {.memory_update = MemoryUpdate::delta, .initial_gate = gate, .memory_decay = true}},
      {"infini_overlap", {.initial_gate = gate, .overlap = 3}},
      {"infini_overlap_of_a_segment", {.initial_gate = gate, .overlap = 5}},
      {"infini_shift", {.initial_gate = gate, .memory_shift = true}},
      {"infini_delta_shift", {.memory_update = MemoryUpdate::delta, .initial_gate = gate, .memory_shift = true}},
      {"infini_delta_rms_add",
       {.memory_update = MemoryUpdate::delta, .gate = GateKind::add, .memory_readout = MemoryReadout::rms}},
      {"infini_options",
       {.gate = GateKind::add, .memory_readout = MemoryReadout::rms, .memory_decay = true, .overlap = 4}},
      {"infini_key_asks", {.initial_gate = gate, .memory_query = MemoryQuery::key}},
      {"infini_associative",
       {.gate = GateKind::add,
        .memory_readout = MemoryReadout::rms,
        .memory_decay = true,
        .memory_features = MemoryFeatures::identity,
        .memory_query = MemoryQuery::key,
        .memory_shift = true,
        .overlap = 4}},
      {"infini_as_qwen", {.memory_update = MemoryUpdate::delta, .initial_gate = gate, .overlap = 3}, true},
      {"local_as_qwen", {.kind = AttentionKind::local}, true},
      {"full_as_qwen", {.kind = AttentionKind::full}, true},
      {"transformer_xl_as_qwen", {.kind = AttentionKind::transformer_xl}, true},
      {"recurrent_memory_as_qwen", {.kind = AttentionKind::recurrent_memory}, true},
      {"memorizing_as_qwen", {.kind = AttentionKind::memorizing}, true},
  };
}

class AttentionKinds : public testing::EveryAttention {};

TEST_P(AttentionKinds, ATokenChangesNoLogitBeforeItNorOfAnotherDocument) {
  LanguageModel model(pool, config(), DataType::float64);
  initialize(model, 1);
  const TokenBatch batch = random_batch(1, 17, 23, {8});
  const auto pass = [&](const TokenBatch& tokens) {
    SequenceState state = model.empty_state(pool, 1);
    return logits(model, pool, tokens, state).reshaped(Shape{17, 23});
  };
  const Tensor before = pass(batch);
  for (std::int64_t changed = 0; changed < 17; ++changed) {
    TokenBatch other = batch;
    auto& token = other.inputs[static_cast<std::size_t>(changed)];
    token = (token + 1) % 23;
    const Tensor after = pass(other);
    for (std::int64_t t = 0; t < 17; ++t) {
      const bool same = before.rows(t, t + 1).to_doubles() == after.rows(t, t + 1).to_doubles();
      const bool segments_apart = GetParam().attention.kind == AttentionKind::local && t / 5 != changed / 5;
      if (t < changed || (t >= 8) != (changed >= 8) || segments_apart) {
        EXPECT_TRUE(same) << "token " << changed << " reaches " << t;
      } else {
        EXPECT_FALSE(same) << "token " << changed << " does not reach " << t;
      }
    }
  }
}

TEST_P(AttentionKinds, SchedulesAndRecomputationAgree) {
  LanguageModel model(pool, config(), DataType::float64);
  initialize(model, 2);
  const TokenBatch first = random_batch(2, 18, 23, {4, 11}), second = random_batch(2, 9, 23, {3}, 6);
  TokenBatch next = second;
  for (auto& document : next.documents) document += first.documents.back();
  const auto run = [&](Schedule schedule, Recompute recompute) {
    const PassOptions options{schedule, recompute, 0.5};
    const Gradients before = gradients(model, pool, first, model.empty_state(pool, 2), options);
    return gradients(model, pool, next, before.memory, options);
  };
  const bool parallel = traits_of(GetParam().attention.kind).parallel_segments;
  const Gradients expected = run(parallel ? Schedule::parallel : Schedule::sequential, Recompute::none);
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::cheap}, std::pair{Schedule::parallel, Recompute::block},
        std::pair{Schedule::sequential, Recompute::none}, std::pair{Schedule::sequential, Recompute::cheap},
        std::pair{Schedule::sequential, Recompute::block}, std::pair{Schedule::sequential, Recompute::segment}}) {
    if (schedule == Schedule::parallel && !parallel) continue;
    const Gradients actual = run(schedule, recompute);
    EXPECT_NEAR(actual.loss, expected.loss, 1e-9 * std::abs(expected.loss));
    for (std::size_t i = 0; i < expected.parameters.size(); ++i) {
      EXPECT_LT(difference(actual.parameters[i], expected.parameters[i]), 1e-9)
          << name_of(schedule) << " " << name_of(recompute) << " " << model.parameters().all()[i].name;
    }
    EXPECT_EQ(actual.memory.tokens, expected.memory.tokens);
    actual.memory.for_each([&](const std::string& name, const Tensor& tensor) {
      expected.memory.for_each([&](const std::string& other, const Tensor& theirs) {
        if (name == other) {
          EXPECT_LT(difference(tensor, theirs), 1e-9) << name;
        }
      });
    });
  }
}

TEST_P(AttentionKinds, CarriedStateEqualsOneLongSequence) {
  LanguageModel model(pool, config(), DataType::float64);
  initialize(model, 3);
  const TokenBatch whole = random_batch(2, 20, 23, {7});
  SequenceState state = model.empty_state(pool, 2);
  const std::vector<double> expected = token_losses(model, pool, whole, state);
  EXPECT_EQ(state.tokens, (std::vector<std::int64_t>{13, 13}));
  SequenceState carried = model.empty_state(pool, 2);
  for (std::int64_t begin = 0; begin < 20; begin += 5) {
    const std::vector<double> losses = token_losses(model, pool, columns_of(whole, begin, begin + 5), carried);
    for (std::int64_t lane = 0; lane < 2; ++lane) {
      for (std::int64_t t = 0; t < 5; ++t) {
        EXPECT_NEAR(losses[static_cast<std::size_t>(lane * 5 + t)],
                    expected[static_cast<std::size_t>(lane * 20 + begin + t)], 1e-11);
      }
    }
  }
  EXPECT_EQ(carried.tokens, state.tokens);
}

TEST_P(AttentionKinds, ABatchWithoutATargetIsReadForwardOnlyWithTheSameMemory) {
  LanguageModel model(pool, config(), DataType::float32);
  initialize(model, 6);
  const TokenBatch first = random_batch(2, 17, 23, {7});
  for (const Schedule schedule : {Schedule::parallel, Schedule::sequential}) {
    if (schedule == Schedule::parallel && !traits_of(GetParam().attention.kind).parallel_segments) continue;
    for (const Recompute recompute : {Recompute::none, Recompute::block, Recompute::segment}) {
      const PassOptions options{.schedule = schedule, .recompute = recompute};
      SequenceState learning = model.empty_state(pool, 2), reading = learning;
      TokenBatch batch = first;
      for (int step = 0; step < 2; ++step) {
        TokenBatch masked = batch;
        masked.loss_weights.assign(batch.loss_weights.size(), 0.0f);
        accumulate_gradients(model, pool, batch, learning, options);
        model.parameters().clear_gradients();
        EXPECT_EQ(accumulate_gradients(model, pool, masked, reading, options), 0.0);
        for (const Parameter& parameter : model.parameters()) EXPECT_FALSE(parameter.variable.has_gradient());
        EXPECT_EQ(reading.documents, learning.documents);
        EXPECT_EQ(reading.tokens, learning.tokens);
        std::vector<std::vector<double>> expected, found;
        learning.for_each([&](const std::string&, const Tensor& tensor) { expected.push_back(tensor.to_doubles()); });
        reading.for_each([&](const std::string&, const Tensor& tensor) { found.push_back(tensor.to_doubles()); });
        EXPECT_EQ(found, expected) << name_of(schedule) << " " << name_of(recompute);
        for (std::int64_t& document : batch.documents) ++document;  // the next batch goes on with the last one
      }
    }
  }
}

TEST_P(AttentionKinds, DecodingManyTextsEqualsOnePassOverEach) {
  LanguageModel model(pool, config(), DataType::float64);
  initialize(model, 4);
  const std::vector<std::int64_t> lengths{31, 3, 17, 12};
  std::vector<std::vector<std::int32_t>> texts;
  std::vector<Tensor> expected;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const TokenBatch batch = random_batch(1, lengths[i], 23, {}, 30 + i);
    SequenceState state = model.empty_state(pool, 1);
    expected.push_back(logits(model, pool, batch, state).reshaped(Shape{lengths[i], 23}));
    texts.push_back(batch.inputs);
  }
  // Prompts of uneven lengths, then uneven steps, a lane that pauses among them.
  DecodeState decoding(model, pool, 4);
  std::vector<std::int64_t> at(4, 0);
  const std::vector<std::vector<std::int64_t>> calls{{11, 2, 7, 0}, {1, 1, 1, 10}, {1, 0, 1, 1}, {9, 0, 6, 1},
                                                     {1, 0, 1, 0},  {6, 0, 1, 0},  {1, 0, 0, 0}, {1, 0, 0, 0}};
  for (const std::vector<std::int64_t>& counts : calls) {
    std::vector<std::vector<std::int32_t>> tokens;
    for (std::size_t lane = 0; lane < 4; ++lane) {
      const auto begin = texts[lane].begin() + at[lane];
      tokens.emplace_back(begin, begin + counts[lane]);
      at[lane] += counts[lane];
    }
    const Tensor result = decoding.advance(tokens);
    for (std::size_t lane = 0; lane < 4; ++lane) {
      const auto row = static_cast<std::int64_t>(lane);
      EXPECT_EQ(decoding.tokens(row), at[lane]);
      if (counts[lane] == 0) {
        EXPECT_EQ(result.rows(row, row + 1).to_doubles(), std::vector<double>(23, 0.0));
      } else {
        EXPECT_LT(difference(result.rows(row, row + 1), expected[lane].rows(at[lane] - 1, at[lane])), 1e-10)
            << "lane " << lane << ", token " << at[lane];
      }
    }
  }
}

TEST_P(AttentionKinds, ACopyOfADecodingGoesOnByItself) {
  LanguageModel model(pool, config(), DataType::float64);
  initialize(model, 5);
  const TokenBatch batch = random_batch(1, 20, 23, {});
  const std::span<const std::int32_t> tokens = batch.inputs;
  DecodeState first(model, pool);
  first.advance(tokens.first(7));
  DecodeState copy = first;
  copy.advance(std::vector<std::int32_t>{22, 21, 20, 19, 18, 17});  // past the end of the segment
  DecodeState alone(model, pool);
  alone.advance(tokens.first(7));
  EXPECT_EQ(first.advance(tokens.subspan(7)).to_doubles(), alone.advance(tokens.subspan(7)).to_doubles());
}

TEST_P(AttentionKinds, ParametersAreCountedWithoutAModel) {
  LanguageModel model(pool, config(), DataType::float32);
  EXPECT_EQ(model.parameters().elements(), config().parameters());
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionKinds, ::testing::ValuesIn(kinds_and_options()),
                         [](const auto& info) { return info.param.name; });

/// Where no segment ends, there is no memory to read, and all kinds are the same function of their parameters.
TEST(AttentionKind, AgreeWithinOneSegment) {
  MemoryPool pool;
  const TokenBatch batch = random_batch(2, 12, 23, {5});
  std::vector<std::vector<double>> losses;
  for (const AttentionKind kind : {AttentionKind::infini, AttentionKind::local, AttentionKind::full,
                                   AttentionKind::transformer_xl, AttentionKind::memorizing}) {
    ModelConfig config = testing::small_config(MemoryUpdate::linear, 12);
    config.attention.kind = kind;
    LanguageModel model(pool, config, DataType::float64);
    std::uint64_t seed = 0;
    for (Parameter& parameter : model.parameters()) {
      if (parameter.role == ParameterRole::memory_gate) continue;
      const Random random(++seed, RandomPurpose::test);
      auto values = parameter.master.values<double>();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.uniform(i) - 0.5;
      parameter.refresh();
    }
    SequenceState state = model.empty_state(pool, 2);
    losses.push_back(token_losses(model, pool, batch, state));
  }
  for (std::size_t i = 0; i < losses[0].size(); ++i) {
    for (std::size_t kind = 1; kind < losses.size(); ++kind) EXPECT_NEAR(losses[0][i], losses[kind][i], 1e-12) << kind;
  }
}

/// Full attention sees in a document what local attention sees in a segment as long as the document.
TEST(AttentionKind, FullIsLocalInASegmentAsLongAsTheSequence) {
  MemoryPool pool;
  const TokenBatch batch = random_batch(2, 23, 23, {9});
  const auto run = [&](AttentionKind kind, std::int64_t segment_length) {
    ModelConfig config = testing::small_config(MemoryUpdate::linear, segment_length);
    config.attention.kind = kind;
    LanguageModel model(pool, config, DataType::float64);
    model.initialize(6);
    return gradients(model, pool, batch, model.empty_state(pool, 2), {});
  };
  const Gradients full = run(AttentionKind::full, 5), local = run(AttentionKind::local, 23);
  EXPECT_NEAR(full.loss, local.loss, 1e-10);
  for (std::size_t i = 0; i < full.parameters.size(); ++i) {
    EXPECT_LT(difference(full.parameters[i], local.parameters[i]), 1e-9);
  }
  EXPECT_EQ(full.memory.layers[0][0].tensor.shape(), (Shape{2, 14, 12}));  // the last document's keys
}

TEST(AttentionKind, WhatOptionsLearnStartsAsInTheDesign) {
  MemoryPool pool;
  ModelConfig config = testing::small_config(MemoryUpdate::linear);
  config.num_kv_heads = 4;
  config.attention.memory_readout = MemoryReadout::rms;
  config.attention.memory_decay = true;
  LanguageModel model(pool, config, DataType::float64);
  model.initialize(1);
  for (const double gain : model.parameters().find("layers.1.self_attn.memory_gain").master.to_doubles()) {
    EXPECT_EQ(gain, 0.5);
  }
  const std::vector<double> decay = model.parameters().find("layers.1.self_attn.memory_decay").master.to_doubles();
  ASSERT_EQ(decay.size(), 4u);
  for (std::size_t head = 0; head < 4; ++head) {
    const double share = 1 - std::exp2(-(1.0 + 2.0 * static_cast<double>(head)));
    EXPECT_NEAR(1 / (1 + std::exp(-decay[head])), share, 1e-12);
  }
}

TEST(AttentionKind, RanksCannotShareFullAttention) {
  EXPECT_NO_THROW(require_shareable(AttentionKind::full, 1));
  EXPECT_NO_THROW(require_shareable(AttentionKind::local, 2));
  EXPECT_THROW(require_shareable(AttentionKind::full, 2), ConfigError);
}

TEST(AttentionKind, StepsCannotCarryAStateThatGrows) {
  EXPECT_NO_THROW(require_carriable(AttentionKind::infini, true));
  EXPECT_NO_THROW(require_carriable(AttentionKind::full, false));
  EXPECT_THROW(require_carriable(AttentionKind::full, true), ConfigError);
}

TEST(AttentionKind, BatchesOfUnequalSizesAreRefused) {
  MemoryPool pool;
  LanguageModel model(pool, testing::small_config(MemoryUpdate::linear), DataType::float64);
  model.initialize(7);
  const TokenBatch good = random_batch(1, 7, 23, {});
  for (int which = 0; which < 4; ++which) {
    TokenBatch bad = good;
    if (which == 0) bad.inputs.pop_back();
    if (which == 1) bad.targets.pop_back();
    if (which == 2) bad.documents.pop_back();
    if (which == 3) bad.loss_weights.pop_back();
    SequenceState state = model.empty_state(pool, 1);
    EXPECT_THROW(token_losses(model, pool, bad, state), ShapeError) << which;
    EXPECT_THROW(accumulate_gradients(model, pool, bad, state, {}), ShapeError) << which;
  }
}

TEST(AttentionKind, DecodingOutsideASegmentIsRefused) {
  MemoryPool pool;
  for (const AttentionKind kind :
       {AttentionKind::infini, AttentionKind::local, AttentionKind::full, AttentionKind::transformer_xl,
        AttentionKind::recurrent_memory, AttentionKind::memorizing}) {
    ModelConfig config = testing::small_config(MemoryUpdate::linear);
    config.attention.kind = kind;
    LanguageModel model(pool, config, DataType::float64);
    const SequenceState state = model.empty_state(pool, 1);
    std::vector<LayerState> segments;
    for (std::size_t layer = 0; layer < 2; ++layer) segments.push_back(model.attention(layer).empty_segment(pool, 1));
    Tape tape(pool, Tape::Mode::inference);
    const std::vector<std::int64_t> lanes{0}, positions{5}, read{0};
    const std::vector<std::int32_t> tokens{1};
    const DecodeContext context{&tape, lanes, positions, read, model.rotary(pool, 0, 10).get()};
    EXPECT_THROW(model.decode(context, tokens, state, segments), ShapeError);
  }
}

}  // namespace
}  // namespace palimpsest
