// What a decoding holds, handed out and taken back: it goes on with the same bits, and what is of another model is
// refused.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "layers/attention/registry.h"
#include "layers/decode_state.h"
#include "tests/file_damage.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using Texts = std::vector<std::vector<std::int32_t>>;

class DecodeSnapshots : public ::testing::TestWithParam<AttentionKind> {
 protected:
  /// `overlap` is of infini alone, which then carries rows beside its memory.
  LanguageModel model(AttentionKind kind, std::int64_t segment = 5, std::int64_t overlap = 0) {
    ModelConfig config = testing::small_config(MemoryUpdate::delta, segment);
    config.attention.kind = kind;
    config.attention.overlap = overlap;
    LanguageModel model(pool, config, DataType::float32);
    model.initialize(4);
    return model;
  }
  /// So many tokens for each lane, others for every seed.
  static Texts tokens(const std::vector<std::int64_t>& counts, std::uint64_t seed) {
    Texts result;
    for (const std::int64_t count : counts) {
      result.emplace_back();
      if (count > 0) result.back() = testing::random_batch(1, count, 23, {}, seed++).inputs;
    }
    return result;
  }
  MemoryPool pool;
};

TEST_P(DecodeSnapshots, CopiesGoOnAlike) {
  const LanguageModel model = this->model(GetParam(), 5, 2);
  DecodeState one(model, pool);
  one.advance(tokens({10}, 1).front());
  DecodeState copies = one.copies(3);
  const Texts next = tokens({7, 1, 6}, 2);
  const std::vector<double> found = copies.advance(next).to_doubles();
  std::vector<double> expected;
  for (const auto& text : next) {
    DecodeState alone = one;
    const std::vector<double> logits = alone.advance(text).to_doubles();
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  EXPECT_LE(testing::relative_difference(found, expected), 1e-5);
  EXPECT_EQ(copies.tokens(2), 16);
  EXPECT_EQ(one.tokens(), 10);
  EXPECT_THROW(copies.copies(2), ShapeError) << "of several lanes";
}

TEST_P(DecodeSnapshots, LanesGoOnFromWhereOthersAre) {
  const LanguageModel model = this->model(GetParam(), 5, 2);
  DecodeState one(model, pool);
  one.advance(tokens({13}, 1).front());  // within a segment
  DecodeState lanes = one.copies(3);
  const Texts first = tokens({1, 9, 4}, 2);
  lanes.advance(first);
  const DecodeState before = lanes;
  lanes.rearrange(std::vector<std::int64_t>{1, 0, 1});
  const Texts next = tokens({3, 3, 1}, 3);
  const std::vector<double> found = lanes.advance(next).to_doubles();
  std::vector<double> expected;
  for (std::size_t lane = 0; lane < 3; ++lane) {
    DecodeState alone = one;
    alone.advance(first[lane == 1 ? 0 : 1]);
    const std::vector<double> logits = alone.advance(next[lane]).to_doubles();
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  EXPECT_LE(testing::relative_difference(found, expected), 1e-5);
  EXPECT_EQ(lanes.tokens(0), 25);
  EXPECT_EQ(lanes.tokens(1), 17);
  EXPECT_EQ(before.tokens(0), 14) << "a copy has changed";
  EXPECT_THROW(lanes.rearrange(std::vector<std::int64_t>{0, 1}), ShapeError);
  EXPECT_THROW(lanes.rearrange(std::vector<std::int64_t>{0, 1, 3}), ShapeError);
}

TEST_P(DecodeSnapshots, GoOnWithTheSameBits) {
  const LanguageModel model = this->model(GetParam(), 5, 2);
  DecodeState decoding(model, pool, 3);
  decoding.advance(tokens({13, 0, 10}, 1));  // within a segment, before the first token, between two segments
  decoding.advance(tokens({1, 0, 0}, 4));
  const DecodeSnapshot snapshot = decoding.snapshot();
  DecodeState other(model, pool, snapshot);
  const std::vector<Texts> calls = {tokens({1, 1, 1}, 10), tokens({1, 7, 2}, 20), tokens({12, 1, 9}, 30)};
  std::vector<std::vector<double>> expected;
  expected.reserve(calls.size());
  for (const Texts& call : calls) expected.push_back(decoding.advance(call).to_doubles());
  // What has been decoded since has changed neither the snapshot nor what began with it.
  DecodeState late(model, pool, snapshot);
  for (DecodeState* state : {&other, &late}) {
    EXPECT_EQ(state->tokens(0), 14);
    for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(state->advance(calls[i]).to_doubles(), expected[i]);
    for (std::int64_t lane = 0; lane < 3; ++lane) EXPECT_EQ(state->tokens(lane), decoding.tokens(lane));
  }
}

TEST_P(DecodeSnapshots, AForgottenLaneBeginsAnotherText) {
  const LanguageModel model = this->model(GetParam(), 5, 2);
  DecodeState decoding(model, pool, 2), fresh(model, pool);
  decoding.advance(tokens({13, 11}, 1));
  decoding.forget(0);
  EXPECT_EQ(decoding.tokens(0), 0);
  EXPECT_EQ(decoding.tokens(1), 11);
  for (const std::int64_t count : {1, 9, 1, 6}) {
    const Texts next = tokens({count, 1}, static_cast<std::uint64_t>(count));
    const Tensor logits = decoding.advance(next).rows(0, 1);
    EXPECT_LT(testing::relative_difference(logits.to_doubles(), fresh.advance(next[0]).to_doubles()), 1e-4) << count;
  }
}

TEST_P(DecodeSnapshots, OfAnotherModelAreRefusedByName) {
  const LanguageModel model = this->model(GetParam()), longer = this->model(GetParam(), 6);
  DecodeState decoding(model, pool);
  decoding.advance(tokens({12}, 1).front());
  const DecodeSnapshot snapshot = decoding.snapshot();
  const auto refusal = [&](const LanguageModel& other, const auto& change) {
    DecodeSnapshot changed = snapshot;
    change(changed);
    return message_of<DataError>([&] { DecodeState(other, pool, changed); });
  };
  const auto nothing = [](DecodeSnapshot&) {};
  EXPECT_TRUE(holds(refusal(longer, nothing), "whole segments of 6 tokens"));
  // Transformer-XL's cache is as long as a segment.
  const bool caches = GetParam() == AttentionKind::transformer_xl;
  EXPECT_TRUE(holds(refusal(longer, [](DecodeSnapshot& s) { s.finished = {6}, s.open = {0}; }),
                    caches ? "state.layers.0.key" : "segment.layers.0.key"));
  EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.open = {5}; }), "5 in an open one"));
  EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.finished = {-5}; }), "-5 tokens"));
  EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.finished.clear(); }), "0 lanes"));
  EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.tensors.back().name = "other"; }), "without segment."));
  EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.tensors.push_back({"other", {}}); }), "with other"));
  if (GetParam() == AttentionKind::full) {
    EXPECT_TRUE(holds(refusal(model, [](DecodeSnapshot& s) { s.finished = {15}; }), "rows for 15 tokens"));
  }
  const AttentionKind kind = GetParam() == AttentionKind::local ? AttentionKind::full : AttentionKind::local;
  const char* const unknown = GetParam() == AttentionKind::recurrent_memory ? "segment.layers.0.key"
                              : GetParam() == AttentionKind::memorizing     ? "state.layers.1"
                                                                            : "state.layers.0";
  EXPECT_TRUE(holds(refusal(this->model(kind), nothing), unknown)) << refusal(this->model(kind), nothing);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DecodeSnapshots,
                         ::testing::Values(AttentionKind::infini, AttentionKind::local, AttentionKind::full,
                                           AttentionKind::transformer_xl, AttentionKind::recurrent_memory,
                                           AttentionKind::memorizing),
                         [](const auto& info) { return std::string(traits_of(info.param).name); });

}  // namespace
}  // namespace palimpsest
