// What follows from a configuration before anything is computed.
#include "launch/training/run_plan.h"

#include <gtest/gtest.h>

#include <omp.h>

#include "core/error.h"
#include "data/stream/segment_stream.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(LanePlan, SharesLanesOverRanksAndMicroBatches) {
  TrainConfig config;
  config.batch_size = 12;
  EXPECT_EQ(plan_lanes(config, 3).per_rank, 4);
  EXPECT_EQ(plan_lanes(config, 3).per_micro_batch, 4);
  config.micro_batch_size = 2;
  EXPECT_EQ(plan_lanes(config, 3).per_micro_batch, 2);
  const LaneRun lanes = plan_lane_run(config, 2, 3);
  EXPECT_EQ(lanes.first, 8);
  EXPECT_EQ(lanes.count, 4);
}

TEST(LanePlan, PossibleRanksAreThoseThatPlanLanesAccepts) {
  for (const std::int64_t micro_batch_size : {0, 1, 2, 4, 5}) {
    TrainConfig config;
    config.batch_size = 12;
    config.micro_batch_size = micro_batch_size;
    std::vector<int> accepted;
    for (int ranks = 1; ranks <= 13; ++ranks) {
      if (message_of([&] { plan_lanes(config, ranks); }).empty()) accepted.push_back(ranks);
    }
    EXPECT_EQ(possible_ranks(config), accepted) << micro_batch_size;
  }
}

TEST(LanePlan, RanksThatShareSequencesHaveTheSameLanes) {
  TrainConfig config;
  config.batch_size = 12;
  config.sequence_ranks = 2;
  EXPECT_EQ(plan_lanes(config, 6).per_rank, 4);
  for (const int rank : {2, 3}) {
    EXPECT_EQ(plan_lane_run(config, rank, 6).first, 4);
    EXPECT_EQ(plan_lane_run(config, rank, 6).count, 4);
  }
  EXPECT_EQ(possible_ranks(config), (std::vector<int>{2, 4, 6, 8, 12, 24}));
  EXPECT_NE(message_of([&] { plan_lanes(config, 9); }).find("use one of 1, 3, 9, or a multiple of 2"),
            std::string::npos);
  EXPECT_NE(message_of([&] { plan_lanes(config, 10); }).find("one of 2, 4, 6, 8, 12, 24 ranks"), std::string::npos);
}

TEST(PassPlan, SharedSequencesRunInParallelAndTakeLessMemory) {
  RunConfig config;
  config.model = tiny_config();
  config.train.batch_size = 1;
  config.train.sequence_length = 64;
  config.train.memory_budget = 1e-9;
  EXPECT_EQ(plan_passes(config, DataType::float32, 1, 1, {}).schedule, Schedule::sequential);
  config.train.sequence_ranks = 4;
  const PassPlan shared = plan_passes(config, DataType::float32, 4, 4, {});
  EXPECT_EQ(shared.schedule, Schedule::parallel);
  EXPECT_EQ(shared.recompute, Recompute::block);
  EXPECT_EQ(shared.bytes, pass_bytes(config.model, 1, 16, DataType::float32, Schedule::parallel, Recompute::block));
}

TEST(PassPlan, WhatIsFrozenHasNoGradientAndNoStateOfTheOptimizer) {
  RunConfig config;
  config.model = tiny_config();
  config.train.memory_budget = 1;
  const std::int64_t all = config.model.parameters(), gibibyte = std::int64_t{1} << 30;
  const auto budget = [&](DataType type, const Kept& kept) { return pass_budget(config, type, 1, kept); };
  EXPECT_EQ(budget(DataType::float32, {.trained = all}), gibibyte - 16 * all);
  EXPECT_EQ(budget(DataType::float32, {.trained = 8}), gibibyte - 4 * all - 12 * 8);
  EXPECT_EQ(budget(DataType::bfloat16, {.trained = 8}), gibibyte - 6 * all - 12 * 8);
  EXPECT_EQ(budget(DataType::float32, {}), gibibyte - 4 * all);
  config.optimizer.decay_toward_initial = 0.1;
  EXPECT_EQ(budget(DataType::float32, {.trained = 8}), gibibyte - 4 * all - 16 * 8) << "and the initial values";
  config.optimizer.decay_toward_initial = 0;
  ModelConfig teacher = config.model;
  teacher.attention = {.kind = AttentionKind::full};
  EXPECT_EQ(budget(DataType::bfloat16, {.trained = 8, .teacher = &teacher}),
            gibibyte - 6 * (all + teacher.parameters()) - 12 * 8);
}

TEST(PassPlan, WhatATeacherSaysTakesRoom) {
  RunConfig config;
  config.model = tiny_config();
  config.train.batch_size = 2;
  config.train.sequence_length = 64;
  ModelConfig teacher = config.model;
  teacher.attention = {.kind = AttentionKind::full};
  const auto needed = [&](Recompute recompute) {
    return pass_bytes(config.model, 2, 64, DataType::float32, Schedule::parallel, recompute);
  };
  const auto plan = [&](std::int64_t beside, const Kept& kept) {
    const std::int64_t elements = config.model.parameters() + (kept.teacher ? teacher.parameters() : 0);
    config.train.memory_budget = static_cast<double>(beside + 4 * elements) / (1 << 30);
    return plan_passes(config, DataType::float32, 1, 1, kept).recompute;
  };
  const std::int64_t lesson = lesson_bytes(teacher, 2, 64, DataType::float32);
  EXPECT_EQ(plan(needed(Recompute::cheap) + 8, {}), Recompute::cheap);
  EXPECT_NE(plan(needed(Recompute::cheap) + 8, {.teacher = &teacher}), Recompute::cheap);
  EXPECT_EQ(plan(needed(Recompute::cheap) + lesson + 8, {.teacher = &teacher}), Recompute::cheap);
}

TEST(PassPlan, MemoriesThatRestTakeRoom) {
  RunConfig config;
  config.train.batch_size = 4;
  config.train.micro_batch_size = 2;
  for (const AttentionKind kind : {AttentionKind::infini, AttentionKind::transformer_xl}) {
    config.model = tiny_config();
    config.model.attention.kind = kind;
    config.model = config.model.resolved();
    MemoryPool pool;
    const LanguageModel model(pool, config.model, DataType::float32);
    const auto before = static_cast<double>(pool.statistics().bytes_in_use);
    const SequenceState state = model.empty_state(pool, 10);
    const auto took = static_cast<double>(pool.statistics().bytes_in_use) - before;
    const auto bytes = [&](std::int64_t interleave) {
      config.train.interleave = interleave;
      return static_cast<double>(plan_passes(config, DataType::float32, 1, 1, {}).bytes);
    };
    // A second micro batch of the place that is read, and two of each that waits.
    EXPECT_NEAR(bytes(3) - bytes(1), took / 10 * 8, 0.2 * took) << traits_of(kind).name;
    config.train.carry_memory = false;
    EXPECT_EQ(bytes(3), bytes(1));
    config.train.carry_memory = true;
  }
}

/// Where the teacher's own pass takes most, and where what it says is kept beside the model's.
TEST(PassPlan, WithATeacherThePoolsPeakIsThePlans) {
  RunConfig config;
  config.model = tiny_config();
  config.train.batch_size = 2;
  config.train.sequence_length = 1024;
  const std::size_t tokens = 2 * 1024;
  const TokenBatch batch{2,
                         1024,
                         std::vector<std::int32_t>(tokens, 3),
                         std::vector<std::int32_t>(tokens, 5),
                         std::vector<std::int64_t>(tokens, 0),
                         std::vector<float>(tokens, 1.0f)};
  for (const bool large : {true, false}) {
    config.train.recompute = large ? Recompute::segment : Recompute::cheap;
    ModelConfig shape = config.model;
    shape.attention = {.kind = AttentionKind::full};
    shape.num_layers = large ? 6 : 1;
    shape.hidden_size = large ? 64 : 16;
    shape.num_kv_heads = shape.num_heads;
    shape.head_size = shape.hidden_size / shape.num_heads;
    MemoryPool parameters, pool;
    LanguageModel model(parameters, config.model, DataType::float32);
    LanguageModel teacher(parameters, shape, DataType::float32);
    model.initialize(1);
    teacher.initialize(2);
    for (Parameter& parameter : teacher.parameters()) parameter.variable.set_requires_gradient(false);
    const PassPlan plan = plan_passes(config, DataType::float32, 1, 1, {.teacher = &teacher.config()});
    EXPECT_EQ(plan.bytes == teacher_bytes(shape, 2, 1024, DataType::float32), large);
    SequenceState state = model.empty_state(pool, 2);
    accumulate_gradients(
        model, pool, batch, state,
        {.schedule = plan.schedule, .recompute = plan.recompute, .distillation = {.teacher = &teacher, .share = 0.5}});
    const auto used = static_cast<double>(pool.statistics().peak_bytes_in_use);
    const double scratch = 0.3e6 * omp_get_max_threads(), planned = static_cast<double>(plan.bytes);
    EXPECT_LT(used, 1.1 * planned + scratch) << large;
    EXPECT_GT(used, 0.75 * planned - scratch) << large;
  }
}

TEST(LanePlan, NamesTheValuesThatWouldDo) {
  TrainConfig config;
  config.batch_size = 12;
  EXPECT_NE(message_of([&] { plan_lanes(config, 5); }).find("1, 2, 3, 4, 6, 12"), std::string::npos);
  config.micro_batch_size = 4;
  EXPECT_NE(message_of([&] { plan_lanes(config, 2); }).find("1, 2, 3, 6"), std::string::npos);
}

TEST(Resolve, TakesTheVocabularyOfTheTokenizerAndRefusesASmallerOne) {
  const TemporaryDirectory directory;
  write_token_file(directory / "tokens.h5", {50});
  const SegmentStream file(std::make_shared<const TokenFile>(directory / "tokens.h5"), StreamConfig{});
  RunConfig config;
  EXPECT_EQ(resolve(config, file, 1).model.vocab_size, 258);
  EXPECT_EQ(resolve(config, file, 1).model.head_size, 64);
  config.model.vocab_size = 300;
  EXPECT_EQ(resolve(config, file, 1).model.vocab_size, 300);
  config.model.vocab_size = 257;
  EXPECT_NE(message_of([&] { resolve(config, file, 1); }).find("has 258 tokens"), std::string::npos);
}

}  // namespace
}  // namespace palimpsest
