// Sequence parallelism over real messages: the ranks of the job share sequences and agree with each of
// them working alone; what goes over the wire does not depend on the segment length.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/comm/communication_counter.h"
#include "core/random.h"
#include "layers/language_model.h"
#include "layers/training_pass.h"
#include "tests/mpi/job.h"
#include "tests/small_config.h"

namespace palimpsest {
namespace {

using testing::small_config;

/// A document of `long_document` tokens, then another.
TokenBatch batch_of(std::int64_t tokens, std::int64_t long_document) {
  TokenBatch batch{1, tokens, {}, {}, {}, std::vector<float>(static_cast<std::size_t>(tokens), 1.0f)};
  const Random random(5, RandomPurpose::test);
  for (std::int64_t t = 0; t < tokens; ++t) {
    batch.inputs.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(2 * t), 23)));
    batch.targets.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(2 * t + 1), 23)));
    batch.documents.push_back(t < long_document ? 0 : 1);
  }
  return batch;
}

struct Outcome {
  std::vector<double> values;  // the loss, then every gradient
  SequenceState memory;
};

Outcome pass(MemoryPool& pool, const ModelConfig& config, DataType type, const TokenBatch& batch, Communicator* ranks) {
  LanguageModel model(pool, config, type);
  model.initialize(3);
  Outcome outcome{{}, model.empty_state(pool, 1)};
  outcome.values.push_back(accumulate_gradients(
      model, pool, batch, outcome.memory, {.recompute = Recompute::block, .loss_scale = 0.1, .sequence_ranks = ranks}));
  for (const Parameter& parameter : model.parameters()) {
    const std::vector<double> gradient = parameter.variable.gradient().to_doubles();
    outcome.values.insert(outcome.values.end(), gradient.begin(), gradient.end());
  }
  return outcome;
}

class MpiSequenceParallel : public ::testing::TestWithParam<MemoryUpdate> {};

TEST_P(MpiSequenceParallel, AgreesWithOneRank) {
  MemoryPool pool;
  const ModelConfig config = small_config(GetParam(), 4);
  const TokenBatch batch = batch_of(38, 30);
  const Outcome expected = pass(pool, config, DataType::float64, batch, nullptr);
  Outcome actual = pass(pool, config, DataType::float64, batch, &job());
  job().all_reduce_sum(std::span(actual.values));
  ASSERT_EQ(actual.values.size(), expected.values.size());
  double scale = 0;
  for (const double value : expected.values) scale = std::max(scale, std::abs(value));
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_NEAR(actual.values[i], expected.values[i], 1e-11 * scale) << i;
  }
  const auto bytes = actual.memory.layers.back()[0].tensor.raw();
  for (const auto& other : job().all_gather(bytes)) EXPECT_TRUE(std::ranges::equal(other, bytes));
}

TEST_P(MpiSequenceParallel, GroupsOfNeighboursWorkSideBySide) {
  if (job().size() % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
  const auto group = job().split(job().rank() / 2, job().rank());
  ASSERT_EQ(group->size(), 2);
  MemoryPool pool;
  const ModelConfig config = small_config(GetParam(), 4);
  // Another sequence for every group.
  const TokenBatch batch = batch_of(38, 20 + 5 * (job().rank() / 2));
  const Outcome expected = pass(pool, config, DataType::float64, batch, nullptr);
  Outcome actual = pass(pool, config, DataType::float64, batch, group.get());
  group->all_reduce_sum(std::span(actual.values));
  EXPECT_NEAR(actual.values[0], expected.values[0], 1e-11 * expected.values[0]);
  EXPECT_NEAR(actual.values[1], expected.values[1], 1e-11);
}

TEST_P(MpiSequenceParallel, WireVolumeDoesNotDependOnTheSegmentLength) {
  std::vector<std::int64_t> bytes;
  for (const std::int64_t segment_length : {2, 16, 64}) {
    CommunicationCounter counter;
    const CommunicationObservation observation(job(), counter);
    MemoryPool pool;
    pass(pool, small_config(GetParam(), segment_length), DataType::float32, batch_of(8 * segment_length, 1000), &job());
    bytes.push_back(counter.counts().bytes());
  }
  // Heads of 6, two of them, in two layers; blocks are recomputed, so forward's exchanges run twice.
  const bool delta = GetParam() == MemoryUpdate::delta;
  const std::int64_t forward = delta ? 2 * 36 + 6 : 36 + 6, backward = 36 + 6;
  EXPECT_EQ(bytes.front(), (job().size() - 1) * 2 * 2 * (2 * forward + backward) * 4);
  EXPECT_EQ(bytes, std::vector<std::int64_t>(3, bytes.front()));
}

INSTANTIATE_TEST_SUITE_P(Rules, MpiSequenceParallel, ::testing::Values(MemoryUpdate::linear, MemoryUpdate::delta),
                         [](const auto& info) {
                           return std::string(info.param == MemoryUpdate::delta ? "delta" : "linear");
                         });

}  // namespace
}  // namespace palimpsest
