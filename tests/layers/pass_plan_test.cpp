#include "layers/pass_plan.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omp.h>

#include "core/matmul.h"
#include "core/random.h"
#include "layers/attention/registry.h"
#include "layers/model_flops.h"
#include "layers/product_scratch.h"
#include "layers/training_pass.h"

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

struct EstimatedPass {
  std::string name;
  ModelConfig config;
  std::int64_t lanes, tokens;
};

std::vector<EstimatedPass> estimated_passes() {
  EstimatedPass many_segments{"many_segments", config_of(128, 4, 128), 1, 1024};
  EstimatedPass large_vocabulary{"large_vocabulary", config_of(64, 2, 256), 2, 512};
  large_vocabulary.config.vocab_size = 20000;
  EstimatedPass grouped_heads{"grouped_heads", config_of(128, 3, 512), 2, 1024};
  grouped_heads.config.num_kv_heads = 2;
  EstimatedPass narrow_feed_forward{"narrow_feed_forward", config_of(128, 4, 256), 1, 1024};
  narrow_feed_forward.config.ffn_size = 64;
  EstimatedPass overlap{"overlap", config_of(128, 4, 256), 2, 1024};
  overlap.config.attention.overlap = 32;
  EstimatedPass options{"options", config_of(128, 4, 128), 1, 1024};
  options.config.attention.overlap = 128;
  options.config.attention.memory_decay = true;
  options.config.attention.memory_readout = MemoryReadout::rms;
  options.config.attention.gate = GateKind::add;
  EstimatedPass as_qwen{"as_qwen", config_of(128, 4, 128), 1, 1024};
  as_qwen.config.qkv_bias = as_qwen.config.qk_norm = true;
  as_qwen.config.head_size = 64;
  EstimatedPass shifted{"shifted", config_of(128, 4, 128), 1, 1024};
  shifted.config.attention.memory_shift = true;
  EstimatedPass associative = options;
  associative.name = "associative";
  associative.config.num_kv_heads = 2;
  associative.config.attention.memory_features = MemoryFeatures::identity;
  associative.config.attention.memory_query = MemoryQuery::key;
  associative.config.attention.memory_shift = true;
  std::vector<EstimatedPass> passes{many_segments, large_vocabulary, grouped_heads, narrow_feed_forward, overlap,
                                    options,       as_qwen,          shifted,       associative};
  for (const AttentionKind kind :
       {AttentionKind::transformer_xl, AttentionKind::recurrent_memory, AttentionKind::memorizing}) {
    EstimatedPass pass{std::string(traits_of(kind).name), config_of(128, 4, 128), 1, 512};
    pass.config.attention.kind = kind;
    pass.config.attention.store_size = 1000;
    pass.config = pass.config.resolved();
    passes.push_back(pass);
  }
#ifdef __SANITIZE_ADDRESS__
  passes.erase(passes.begin() + 3, passes.end());  // minutes for what a sanitizer has nothing to say about
#endif
  return passes;
}

TEST(PassPlan, CountsTheScratchMemoryOfProducts) {
  const ModelConfig config = config_of(64, 1, 64);
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    MemoryPool parameters, pool;
    const std::int64_t rows = 300;
    const Tensor x = Tensor::zeros(parameters, {rows, config.hidden_size}, type);
    const Tensor w = Tensor::zeros(parameters, {config.ffn_size, config.hidden_size}, type);
    Tensor y(parameters, {rows, config.ffn_size}, type);
    matmul(pool, matrix_of(x), matrix_of(w).transposed(), matrix_of(y));
    const auto taken = static_cast<std::int64_t>(pool.statistics().scratch_bytes);
    const std::int64_t all = product_scratch_bytes(config, rows, type, Products::forward_and_backward);
    EXPECT_GE(product_scratch_bytes(config, rows, type, Products::forward) + 4096, taken);
    EXPECT_GE(all, product_scratch_bytes(config, rows, type, Products::forward));
    EXPECT_GE(pass_bytes(config, 1, rows, type, Schedule::parallel, Recompute::none), all);
  }
}

/// Nothing is computed in bfloat16 where the machine has no instructions for it.
std::vector<DataType> types_of_passes() {
  std::vector<DataType> types{DataType::float32};
  if (has_native_bfloat16()) types.push_back(DataType::bfloat16);
  return types;
}

/// The estimate is what the pool really hands out over and above the gradients, within a tenth and the threads' scratch
/// memory, for every shape, precision and way.
TEST(PassPlan, EstimatesWhatAPassUses) {
  const double scratch = 0.3e6 * omp_get_max_threads();
  for (const auto& [name, config, lanes, tokens] : estimated_passes()) {
    for (const DataType type : types_of_passes()) {
      MemoryPool parameters, gradients;
      LanguageModel model(parameters, config, type);
      model.initialize(1);
      for (Parameter& parameter : model.parameters()) {
        auto target = parameter.variable.gradient_target(gradients);
        fill(target.view, 0.0);
      }
      const auto count = static_cast<std::size_t>(lanes * tokens);
      TokenBatch batch{lanes, tokens, {}, {}, std::vector<std::int64_t>(count, 0), std::vector<float>(count, 1.0f)};
      const Random random(3, RandomPurpose::test);
      for (std::size_t i = 0; i < count; ++i) {
        batch.inputs.push_back(static_cast<std::int32_t>(random.below(i, 256)));
        batch.targets.push_back(static_cast<std::int32_t>(random.below(i + 5000, 256)));
      }
      for (const auto& [schedule, recompute] :
           {std::pair{Schedule::parallel, Recompute::none}, std::pair{Schedule::parallel, Recompute::cheap},
            std::pair{Schedule::parallel, Recompute::block}, std::pair{Schedule::sequential, Recompute::none},
            std::pair{Schedule::sequential, Recompute::block}, std::pair{Schedule::sequential, Recompute::segment}}) {
        if (schedule == Schedule::parallel && !traits_of(config.attention.kind).parallel_segments) continue;
        MemoryPool pool;
        SequenceState memory = model.empty_state(pool, lanes);
        accumulate_gradients(model, pool, batch, memory, {schedule, recompute, 1.0});
        const auto used = static_cast<double>(pool.statistics().peak_bytes_in_use);
        const auto estimate = static_cast<double>(pass_bytes(config, lanes, tokens, type, schedule, recompute));
        const std::string which = std::string(name) + " " + std::string(name_of(type)) + " " +
                                  std::string(name_of(schedule)) + " " + std::string(name_of(recompute));
        EXPECT_LT(used, 1.1 * estimate + scratch) << which;
        // Not all of what the states of these could take has a gradient.
        const double least = config.attention.kind == AttentionKind::infini ? 0.9 : 0.75;
        EXPECT_GT(used, least * estimate - scratch) << which;
      }
    }
  }
}

/// The same for passes without gradients, which evaluation takes.
TEST(PassPlan, EstimatesWhatAPassWithoutGradientsUses) {
  const double scratch = 0.3e6 * omp_get_max_threads();
  for (const auto& [name, config, lanes, tokens] : estimated_passes()) {
    for (const DataType type : types_of_passes()) {
      MemoryPool parameters, pool;
      LanguageModel model(parameters, config, type);
      model.initialize(1);
      const auto count = static_cast<std::size_t>(lanes * tokens);
      const TokenBatch batch{lanes,
                             tokens,
                             std::vector<std::int32_t>(count, 3),
                             std::vector<std::int32_t>(count, 5),
                             std::vector<std::int64_t>(count, 0),
                             std::vector<float>(count, 1.0f)};
      SequenceState state = model.empty_state(pool, lanes);
      token_losses(model, pool, batch, state);
      const auto used = static_cast<double>(pool.statistics().peak_bytes_in_use);
      const auto estimate = static_cast<double>(forward_bytes(config, lanes, tokens, 0, type));
      EXPECT_LE(used, estimate + scratch) << name << " " << name_of(type);
      EXPECT_GT(used, 0.85 * estimate - scratch) << name << " " << name_of(type);
    }
  }
}

TEST(PassPlan, APassWithoutGradientsTakesTheLanesAndSegmentsThatFit) {
  const ModelConfig config = config_of(256, 8, 256);
  const auto bytes = [&](std::int64_t lanes, std::int64_t tokens) {
    return forward_bytes(config, lanes, tokens, 0, DataType::float32);
  };
  const auto plan = [&](std::int64_t budget, std::int64_t most_tokens = 8192) {
    const ForwardPlan found = plan_forward(config, 8, most_tokens, 0, DataType::float32, budget);
    EXPECT_EQ(found.bytes, bytes(found.lanes, found.tokens));
    return std::pair(found.lanes, found.tokens);
  };
  EXPECT_EQ(plan(bytes(8, 8192)), std::pair(8L, 8192L));
  EXPECT_EQ(plan(bytes(8, 8192) - 1), std::pair(8L, 8192L - 256));
  EXPECT_EQ(plan(bytes(8, 256)), std::pair(8L, 256L));
  EXPECT_EQ(plan(bytes(8, 256) - 1), std::pair(7L, 256L));
  EXPECT_EQ(plan(0), std::pair(1L, 256L));
  EXPECT_EQ(plan(bytes(8, 8192), 700), std::pair(8L, 512L)) << "whole segments only";
  EXPECT_EQ(plan(bytes(8, 8192), 1), std::pair(8L, 256L)) << "one segment at least";
}

TEST(ModelFlops, FollowsTheDefinition) {
  ModelConfig config = config_of(64, 3, 10);
  const double matrices = 3 * (4 * 64 * 64 + 3 * 64 * 192) + 256 * 64;
  const double keys = (10 * 5.5 + 10 * 5.5 + 5 * 3.0) / 25;  // 25 tokens in segments of 10, 10 and 5
  const double linear = 6 * matrices + 3 * 3 * 4 * 4 * 16 * keys + 3 * 3 * 4 * 4 * 16 * 16;
  EXPECT_DOUBLE_EQ(training_flops_per_token(config, 25), linear);
  EXPECT_DOUBLE_EQ(inference_flops_per_token(config, 25), linear / 3);
  config.attention.memory_update = MemoryUpdate::delta;
  EXPECT_DOUBLE_EQ(training_flops_per_token(config, 25), linear + 3 * 3 * 4 * 2 * 16 * 16);
  config.attention.memory_update = MemoryUpdate::linear;
  config.attention.overlap = 4;  // in front of the second segment and of the third
  EXPECT_DOUBLE_EQ(training_flops_per_token(config, 25), linear + 3 * 3 * 4 * 4 * 16 * (4.0 * 15 / 25));
}

}  // namespace
}  // namespace palimpsest
