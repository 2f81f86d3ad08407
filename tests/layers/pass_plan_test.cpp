#include "layers/pass_plan.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "layers/language_model.h"
#include "layers/model_flops.h"

namespace palimpsest {
namespace {

ModelConfig config_of(std::int64_t hidden, std::int64_t layers, std::int64_t segment) {
  ModelConfig config;
  config.vocab_size = 256;
  config.hidden_size = hidden;
  config.num_layers = layers;
  config.num_heads = 4;
  config.ffn_size = 3 * hidden;
  config.segment_length = segment;
  return config.resolved();
}

TEST(PassPlan, ChoosesTheFastestThatFits) {
  const ModelConfig config = config_of(256, 8, 256);
  const auto bytes = [&](Schedule schedule, Recompute recompute) {
    return pass_bytes(config, 1, 8192, DataType::float32, schedule, recompute);
  };
  const auto plan = [&](std::int64_t budget, Schedule schedule = Schedule::automatic,
                        Recompute recompute = Recompute::automatic) {
    return plan_pass(config, 1, 8192, DataType::float32, schedule, recompute, budget);
  };
  const std::int64_t cheap = bytes(Schedule::parallel, Recompute::cheap);
  const std::int64_t block = bytes(Schedule::parallel, Recompute::block);
  ASSERT_LT(bytes(Schedule::sequential, Recompute::segment), block);
  ASSERT_LT(block, cheap);
  ASSERT_LT(cheap, bytes(Schedule::parallel, Recompute::none));
  EXPECT_EQ(plan(cheap).recompute, Recompute::cheap);
  EXPECT_EQ(plan(cheap).schedule, Schedule::parallel);
  EXPECT_EQ(plan(cheap - 1).recompute, Recompute::block);
  EXPECT_EQ(plan(block - 1).recompute, Recompute::segment);
  EXPECT_EQ(plan(block - 1).schedule, Schedule::sequential);
  EXPECT_EQ(plan(0).recompute, Recompute::segment);
  EXPECT_EQ(plan(0, Schedule::parallel).recompute, Recompute::block);
  EXPECT_EQ(plan(0, Schedule::parallel).schedule, Schedule::parallel);
  EXPECT_EQ(plan(0, Schedule::automatic, Recompute::none).recompute, Recompute::none);
}

/// The estimate is what the pool really hands out, within a third, for every way.
TEST(PassPlan, EstimatesWhatAPassUses) {
  const ModelConfig config = config_of(128, 4, 128);
  MemoryPool parameters;
  LanguageModel model(parameters, config, DataType::float32);
  model.initialize(1);
  TokenBatch batch{1, 2048, {}, {}, std::vector<std::int64_t>(2048, 0), std::vector<float>(2048, 1.0f)};
  const Random random(3, RandomPurpose::test);
  for (std::uint64_t i = 0; i < 2048; ++i) {
    batch.inputs.push_back(static_cast<std::int32_t>(random.below(i, 256)));
    batch.targets.push_back(static_cast<std::int32_t>(random.below(i + 5000, 256)));
  }
  const auto logits = std::int64_t{2} * 4 * (8 << 20);  // of a large vocabulary, which this one is not
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::none}, std::pair{Schedule::parallel, Recompute::cheap},
        std::pair{Schedule::parallel, Recompute::block}, std::pair{Schedule::sequential, Recompute::segment}}) {
    MemoryPool pool;
    MemoryState memory = model.empty_memory(pool, 1);
    model.parameters().clear_gradients();
    model.accumulate_gradients(pool, batch, memory, {schedule, recompute, 1.0});
    const auto gradients = model.parameters().elements() * 4;
    const auto used = static_cast<double>(static_cast<std::int64_t>(pool.statistics().peak_bytes_in_use) - gradients);
    const auto estimate =
        static_cast<double>(pass_bytes(config, 1, 2048, DataType::float32, schedule, recompute) - logits);
    EXPECT_LT(used, 1.33 * estimate + 4e6) << name_of(recompute);
    EXPECT_GT(used, 0.67 * estimate - 4e6) << name_of(recompute);
  }
}

TEST(ModelFlops, FollowsTheDefinition) {
  ModelConfig config = config_of(64, 3, 10);
  const double matrices = 3 * (4 * 64 * 64 + 3 * 64 * 192) + 256 * 64;
  const double keys = (10 * 5.5 + 10 * 5.5 + 5 * 3.0) / 25;  // 25 tokens in segments of 10, 10 and 5
  const double linear = 6 * matrices + 3 * 3 * 4 * 4 * 16 * keys + 3 * 3 * 4 * 4 * 16 * 16;
  EXPECT_DOUBLE_EQ(training_flops_per_token(config, 25), linear);
  EXPECT_DOUBLE_EQ(inference_flops_per_token(config, 25), linear / 3);
  config.memory_update = MemoryUpdate::delta;
  EXPECT_DOUBLE_EQ(training_flops_per_token(config, 25), linear + 3 * 3 * 4 * 2 * 16 * 16);
}

}  // namespace
}  // namespace palimpsest
