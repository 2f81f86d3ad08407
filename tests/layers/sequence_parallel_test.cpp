// Sequence parallelism: ranks that share a sequence compute what one rank computes, for any documents,
// rule, recomputation and number of ranks, and exchange as many bytes whatever the segment length.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "layers/training_pass.h"
#include "tests/layers/every_attention.h"
#include "tests/layers/golden_vectors.h"
#include "tests/small_config.h"
#include "tests/tensors.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

using testing::NamedAttention;
using testing::small_config;

/// What the ranks have found, their losses and gradients added up.
struct Outcome {
  double loss = 0;
  std::vector<std::vector<double>> gradients;  // per parameter
  std::vector<SequenceState> memories;         // per rank
};

using Prepare = std::function<void(LanguageModel&, MemoryPool&)>;

/// Passes `batches` one after the other, the memory carried from each to the next; the outcome of the last.
Outcome pass(ThreadRanks& ranks, const ModelConfig& config, DataType type, const std::vector<TokenBatch>& batches,
             Recompute recompute, double scale, MemoryPool& result_pool, const Prepare& prepare) {
  Outcome outcome;
  outcome.memories.resize(static_cast<std::size_t>(ranks.size()));
  std::mutex mutex;
  ranks.run([&](Communicator& communicator) {
    MemoryPool pool;
    LanguageModel model(pool, config, type);
    prepare(model, pool);
    SequenceState& memory = outcome.memories[static_cast<std::size_t>(communicator.rank())];
    memory = model.empty_state(result_pool, batches.front().lanes);
    double loss = 0;
    for (const TokenBatch& batch : batches) {
      model.parameters().clear_gradients();
      loss = accumulate_gradients(model, result_pool, batch, memory,
                                  {.schedule = Schedule::parallel,
                                   .recompute = recompute,
                                   .loss_scale = scale,
                                   .sequence_ranks = &communicator});
    }
    communicator.all_reduce_sum(std::span(&loss, 1));
    std::vector<std::vector<double>> gradients;
    for (const Parameter& parameter : model.parameters()) {
      gradients.push_back(parameter.variable.gradient().to_doubles());
      communicator.all_reduce_sum(std::span(gradients.back()));
    }
    if (!communicator.is_root()) return;
    outcome.loss = loss;
    outcome.gradients = std::move(gradients);
  });
  return outcome;
}

bool same_bits(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.raw(), b.raw()); }

void expect_same_memory_everywhere(const Outcome& outcome) {
  for (const SequenceState& memory : outcome.memories) {
    EXPECT_EQ(memory.documents, outcome.memories.front().documents);
    for (std::size_t layer = 0; layer < memory.layers.size(); ++layer) {
      const LayerState &mine = memory.layers[layer], &first = outcome.memories.front().layers[layer];
      for (std::size_t i = 0; i < mine.size(); ++i) {
        EXPECT_TRUE(same_bits(mine[i].tensor, first[i].tensor)) << layer << " " << mine[i].name;
      }
    }
  }
}

struct GoldenCase {
  std::string name;
  int ranks;
};

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> all;
  for (const std::string& name : golden_files()) {
    for (const int ranks : {1, 2, 3, 4, 8}) all.push_back({name, ranks});
  }
  return all;
}

class SequenceParallelGolden : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(SequenceParallelGolden, LossMemoryAndGradients) {
  const Golden golden(GetParam().name);
  for (const DataType type : {DataType::float64, DataType::float32}) {
    const double tolerance = type == DataType::float64 ? 1e-9 : 2e-4;
    double maximum = 0;
    const auto compare = [&](const std::string& what, const std::vector<double>& actual) {
      const double error = testing::relative_difference(actual, golden.reals(what, actual.size()));
      EXPECT_LE(error, tolerance) << what << " " << name_of(type);
      maximum = std::max(maximum, error);
    };
    for (const Recompute recompute : {Recompute::none, Recompute::cheap, Recompute::block}) {
      ThreadRanks ranks(GetParam().ranks);
      MemoryPool pool;
      std::vector<std::string> names;
      const Outcome outcome = pass(ranks, golden.config, type, {golden.batch}, recompute, 1.0 / golden.total_weight,
                                   pool, [&](LanguageModel& model, MemoryPool& p) { golden.load(model, p); });
      compare("expected/loss", {outcome.loss / golden.total_weight});
      for (std::size_t layer = 0; layer < outcome.memories.front().layers.size(); ++layer) {
        for (const auto& [name, tensor] : outcome.memories.front().layers[layer]) {
          compare(fmt::format("expected/memory/{}/{}", layer, name), tensor.to_doubles());
        }
      }
      LanguageModel model(pool, golden.config, type);
      for (std::size_t i = 0; i < outcome.gradients.size(); ++i) {
        compare("expected/gradients/" + model.parameters().all()[i].name, outcome.gradients[i]);
      }
      expect_same_memory_everywhere(outcome);
    }
    RecordProperty(fmt::format("largest_relative_difference_{}", name_of(type)), fmt::format("{:.3g}", maximum));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, SequenceParallelGolden, ::testing::ValuesIn(golden_cases()), [](const auto& info) {
  return fmt::format("{}_{}_ranks", info.param.name, info.param.ranks);
});

/// Documents that start at random in every lane, about once in `document_length` tokens.
TokenBatch random_batch(std::int64_t lanes, std::int64_t tokens, std::int64_t document_length, std::int64_t first,
                        std::uint64_t seed) {
  TokenBatch batch;
  batch.lanes = lanes;
  batch.tokens = tokens;
  const Random random(seed, RandomPurpose::test);
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    std::int64_t document = first;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const auto i = static_cast<std::uint64_t>(4 * (lane * tokens + t));
      const bool ends = random.below(i + 2, static_cast<std::uint64_t>(document_length)) == 0;
      batch.inputs.push_back(static_cast<std::int32_t>(random.below(i, 23)));
      batch.targets.push_back(static_cast<std::int32_t>(random.below(i + 1, 23)));
      batch.documents.push_back(document);
      batch.loss_weights.push_back(ends ? 0.0f : 1.0f);
      if (ends) ++document;
    }
  }
  return batch;
}

/// The next batch in the same lanes: it goes on with the documents in which `before` ends.
TokenBatch following(const TokenBatch& before, TokenBatch batch) {
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    const auto last = before.documents[static_cast<std::size_t>((lane + 1) * before.tokens - 1)];
    for (std::int64_t t = 0; t < batch.tokens; ++t) {
      batch.documents[static_cast<std::size_t>(lane * batch.tokens + t)] += last;
    }
  }
  return batch;
}

/// Threads that wait actively would disturb the ranks, which outnumber the cores.
struct OneThread {
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(threads); }
  int threads = omp_get_max_threads();
};

/// One rank with the whole sequence.
Outcome alone(const ModelConfig& config, DataType type, const std::vector<TokenBatch>& batches, Schedule schedule,
              MemoryPool& pool, std::uint64_t seed) {
  const OneThread one_thread;
  LanguageModel model(pool, config, type);
  model.initialize(seed);
  Outcome outcome;
  outcome.memories.push_back(model.empty_state(pool, batches.front().lanes));
  for (const TokenBatch& batch : batches) {
    model.parameters().clear_gradients();
    outcome.loss = accumulate_gradients(model, pool, batch, outcome.memories.front(), {schedule, Recompute::none, 0.1});
  }
  for (const Parameter& parameter : model.parameters()) {
    outcome.gradients.push_back(parameter.variable.gradient().to_doubles());
  }
  return outcome;
}

class SequenceParallel : public ::testing::TestWithParam<NamedAttention> {
 protected:
  static ModelConfig config_of(std::int64_t segment_length = 5) {
    ModelConfig config = small_config(GetParam().attention.memory_update, segment_length);
    config.attention = GetParam().attention;
    config.attention.overlap = std::min(config.attention.overlap, segment_length);
    return config;
  }
};

TEST_P(SequenceParallel, AgreesWithOneRankOnAnyDocumentsAndCarriedMemory) {
  double maximum = 0;
  for (std::uint64_t trial = 0; trial < 12; ++trial) {
    const Random random(trial, RandomPurpose::test, 3);
    ModelConfig config = config_of(1 + static_cast<std::int64_t>(random.below(0, 7)));
    config.attention.empty_memory = trial % 2 ? EmptyMemory::gated : EmptyMemory::local;
    const auto tokens = 20 + static_cast<std::int64_t>(random.below(1, 40));  // most often with a ragged last segment
    const std::int64_t document_length = trial % 3 == 0 ? 1000 : trial % 3 == 1 ? 15 : 5;
    std::vector<TokenBatch> batches{random_batch(2, tokens, document_length, 0, trial)};
    batches.push_back(following(batches[0], random_batch(2, tokens + 3, document_length, 0, trial + 50)));
    MemoryPool pool;
    const Outcome expected =
        alone(config, DataType::float64, batches, trial % 2 ? Schedule::parallel : Schedule::sequential, pool, trial);
    for (const int size : trial % 4 < 2    ? std::vector<int>{2, 4}
                          : trial % 4 == 2 ? std::vector<int>{3}
                                           : std::vector<int>{8}) {
      ThreadRanks ranks(size);
      const Outcome actual = pass(ranks, config, DataType::float64, batches, Recompute::cheap, 0.1, pool,
                                  [&](LanguageModel& model, MemoryPool&) { model.initialize(trial); });
      EXPECT_NEAR(actual.loss, expected.loss, 1e-9 * expected.loss);
      for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
        const double error = testing::relative_difference(actual.gradients[i], expected.gradients[i]);
        EXPECT_LE(error, 1e-9) << "trial " << trial << ", " << size << " ranks, parameter " << i;
        maximum = std::max(maximum, error);
      }
      expect_same_memory_everywhere(actual);
      EXPECT_EQ(actual.memories.front().documents, expected.memories.front().documents);
      for (std::size_t layer = 0; layer < 2; ++layer) {
        const auto &mine = actual.memories.front().layers[layer], &theirs = expected.memories.front().layers[layer];
        for (std::size_t i = 0; i < theirs.size(); ++i) {
          EXPECT_LE(testing::relative_difference(mine[i].tensor.to_doubles(), theirs[i].tensor.to_doubles()), 1e-9)
              << theirs[i].name;
        }
      }
    }
  }
  RecordProperty("largest_relative_difference", fmt::format("{:.3g}", maximum));
}

TEST_P(SequenceParallel, TheLastLossReachesTheFirstRanksTokens) {
  // A token that only the first segment has, and weight only in the last: its embedding has a gradient by
  // way of the memory alone.
  const ModelConfig config = config_of();
  TokenBatch batch = random_batch(1, 40, 1000, 0, 3);
  std::fill(batch.loss_weights.begin(), batch.loss_weights.end() - 5, 0.0f);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = i < 5 ? 22 : batch.inputs[i] % 22;
  ThreadRanks ranks(4);
  MemoryPool pool;
  const Outcome outcome = pass(ranks, config, DataType::float64, {batch}, Recompute::block, 1.0, pool,
                               [](LanguageModel& model, MemoryPool&) { model.initialize(4); });
  for (std::size_t column = 0; column < 16; ++column) EXPECT_NE(outcome.gradients[0][22 * 16 + column], 0.0);
}

TEST_P(SequenceParallel, RecomputationAndRepetitionGiveTheSameBits) {
  const ModelConfig config = config_of();
  const TokenBatch batch = random_batch(2, 43, 20, 0, 8);
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    MemoryPool pool;
    const auto run = [&](Recompute recompute) {
      ThreadRanks ranks(3);
      return pass(ranks, config, type, {batch}, recompute, 0.1, pool,
                  [](LanguageModel& model, MemoryPool&) { model.initialize(5); });
    };
    const Outcome first = run(Recompute::none);
    for (const Recompute recompute : {Recompute::none, Recompute::cheap, Recompute::block}) {
      const Outcome again = run(recompute);
      EXPECT_EQ(first.loss, again.loss) << name_of(recompute);
      EXPECT_EQ(first.gradients, again.gradients) << name_of(recompute) << " " << name_of(type);
      EXPECT_TRUE(same_bits(first.memories[0].layers[1][0].tensor, again.memories[0].layers[1][0].tensor));
    }
  }
}

TEST_P(SequenceParallel, LowerPrecisionAgreesWithinRounding) {
  const ModelConfig config = config_of();
  const std::vector<TokenBatch> batches{random_batch(2, 43, 20, 0, 9)};
  const auto initialize = [](LanguageModel& model, MemoryPool&) { model.initialize(6); };
  MemoryPool pool;
  const Outcome exact = alone(config, DataType::float64, batches, Schedule::parallel, pool, 6);
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    ThreadRanks ranks(4);
    const Outcome one = alone(config, type, batches, Schedule::parallel, pool, 6);
    const Outcome shared = pass(ranks, config, type, batches, Recompute::none, 0.1, pool, initialize);
    // Both round, the delta rule's small differences by up to a tenth; ranks that share a sequence hardly more.
    // Where values of either sign cancel out, one rank alone is further from exact than ranks are from each other.
    const double rounding = type == DataType::float32 ? 2e-5 : 2e-2;
    EXPECT_NEAR(shared.loss, exact.loss, rounding * exact.loss);
    for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
      const double of_one = testing::relative_difference(one.gradients[i], exact.gradients[i]);
      const double of_shared = testing::relative_difference(shared.gradients[i], exact.gradients[i]);
      EXPECT_LE(of_shared, 1.5 * of_one + rounding) << i << " " << name_of(type);
      if (type == DataType::float32) {
        EXPECT_LE(testing::relative_difference(shared.gradients[i], one.gradients[i]), std::max(rounding, of_one)) << i;
      }
    }
  }
}

TEST_P(SequenceParallel, TokenLossesAreThoseOfOneRank) {
  const ModelConfig config = config_of();
  const TokenBatch first = random_batch(2, 37, 30, 0, 11);
  const TokenBatch second = following(first, random_batch(2, 12, 30, 0, 12));
  MemoryPool pool;
  LanguageModel model(pool, config, DataType::float64);
  model.initialize(7);
  SequenceState memory = model.empty_state(pool, 2);
  std::vector<double> expected = token_losses(model, pool, first, memory);
  const std::vector<double> more = token_losses(model, pool, second, memory);
  expected.insert(expected.end(), more.begin(), more.end());
  for (const int size : {2, 3, 8}) {
    ThreadRanks ranks(size);
    ranks.run([&](Communicator& communicator) {
      MemoryPool rank_pool;
      SequenceState state = model.empty_state(rank_pool, 2);
      std::vector<double> losses = token_losses(model, rank_pool, first, state, &communicator);
      const std::vector<double> rest = token_losses(model, rank_pool, second, state, &communicator);
      losses.insert(losses.end(), rest.begin(), rest.end());
      communicator.all_reduce_sum(std::span(losses));
      EXPECT_LE(testing::relative_difference(losses, expected), 1e-12) << size << " ranks";
      EXPECT_LE(
          testing::relative_difference(state.layers[1][0].tensor.to_doubles(), memory.layers[1][0].tensor.to_doubles()),
          1e-12);
    });
  }
}

TEST_P(SequenceParallel, BytesDependOnHeadsAndLayersButNotOnTokens) {
  const std::size_t lanes = 2, heads = 2, d = 6, layers = 2;
  const bool delta = GetParam().attention.memory_update == MemoryUpdate::delta;
  // What a rank contributes: forward B and b (linear), or b, then A and B; backward C and c, one after
  // the other for delta.
  const std::size_t matrices = d * d * (delta ? 3 : 2), norms = d * 2;
  const std::int64_t shortest = GetParam().attention.memory_shift ? 2 : 1;
  for (const std::int64_t segment_length : {shortest, std::int64_t{4}, std::int64_t{16}}) {
    // Keys and values of the last tokens, forward, and as many gradients back.
    const auto overlap = static_cast<std::size_t>(config_of(segment_length).attention.overlap);
    const std::size_t rows = 2 * 2 * overlap * d;
    const std::size_t expected = layers * lanes * heads * (matrices + norms + rows) * sizeof(float);
    for (const int size : {2, 4}) {
      const TokenBatch batch = random_batch(static_cast<std::int64_t>(lanes), 8 * segment_length, 1000, 0, 13);
      ThreadRanks ranks(size);
      MemoryPool pool;
      pass(ranks, config_of(segment_length), DataType::float32, {batch}, Recompute::none, 1.0, pool,
           [](LanguageModel& model, MemoryPool&) { model.initialize(8); });
      EXPECT_EQ(ranks.gathered_bytes(), static_cast<std::size_t>(size) * expected) << segment_length << " " << size;
      EXPECT_EQ(ranks.gathers(), static_cast<std::size_t>(size) * layers * ((delta ? 4 : 2) + (overlap > 0 ? 2 : 0)));
    }
  }
}

TEST_P(SequenceParallel, RefusesToRecomputeSegments) {
  ThreadRanks ranks(2);
  MemoryPool pool;
  EXPECT_THROW(pass(ranks, config_of(), DataType::float32, {random_batch(1, 20, 9, 0, 1)}, Recompute::segment, 1.0,
                    pool, [](LanguageModel&, MemoryPool&) {}),
               ConfigError);
}

std::vector<NamedAttention> rules_and_options() {
  const AttentionConfig linear{.memory_update = MemoryUpdate::linear, .initial_gate = 0.4};
  AttentionConfig delta = linear, options = linear;
  delta.memory_update = MemoryUpdate::delta;
  options.gate = GateKind::add;
  options.memory_readout = MemoryReadout::rms;
  options.overlap = 3;
  options.memory_decay = true;
  AttentionConfig options_delta = options;
  options_delta.memory_update = MemoryUpdate::delta;
  AttentionConfig shift = options, shift_delta = delta;
  shift.memory_shift = shift_delta.memory_shift = true;
  shift.memory_features = MemoryFeatures::identity;
  shift.memory_query = MemoryQuery::key;
  return {{"linear", linear},          {"delta", delta},
          {"linear_options", options}, {"delta_options", options_delta},
          {"associative", shift},      {"delta_shift", shift_delta}};
}

INSTANTIATE_TEST_SUITE_P(Rules, SequenceParallel, ::testing::ValuesIn(rules_and_options()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace palimpsest
