// LoRA in a model: nothing at first, then what the merged weights compute, in passes and token by token, and gradients
// that follow from those of the merged weights.
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "layers/attention/registry.h"
#include "layers/decode_state.h"
#include "layers/merged_model.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using testing::gradients;
using testing::random_batch;

const std::vector<std::string> all_projections = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};

ModelConfig config_of(AttentionKind kind, const std::vector<std::string>& projections) {
  ModelConfig config = testing::small_config(MemoryUpdate::delta);
  config.attention.kind = kind;
  config.lora = {.rank = 3, .alpha = 6, .projections = projections};
  config.qkv_bias = config.qk_norm = kind == AttentionKind::full;  // one kind as Qwen has it
  return config.resolved();
}

/// As if it had been trained for a while.
void move(LanguageModel& model) {
  MemoryPool pool;
  std::uint64_t seed = 100;
  for (Parameter& parameter : model.parameters()) {
    if (parameter.role != ParameterRole::lora_up && parameter.role != ParameterRole::bias) continue;
    copy(testing::normal_tensor(pool, parameter.master.shape(), parameter.master.data_type(), ++seed, 0.3),
         parameter.master);
    parameter.refresh();
  }
}

TEST(Lora, ChangesNothingAtFirst) {
  MemoryPool pool;
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    LanguageModel model(pool, config_of(AttentionKind::infini, all_projections), type);
    model.initialize(3);
    EXPECT_EQ(model.config().parameters(), model.parameters().elements());
    const auto plain = merge_lora(model, pool);
    EXPECT_EQ(plain->config().lora.rank, 0);
    EXPECT_EQ(plain->parameters().size(), model.parameters().size() - 2 * 2 * 7);
    const TokenBatch batch = random_batch(2, 17, 23, {7});
    SequenceState state = model.empty_state(pool, 2), plain_state = plain->empty_state(pool, 2);
    EXPECT_EQ(logits(model, pool, batch, state).to_doubles(), logits(*plain, pool, batch, plain_state).to_doubles());
  }
}

class LoraOfKind : public ::testing::TestWithParam<AttentionKind> {};

TEST_P(LoraOfKind, ComputesWhatTheMergedModelDoes) {
  MemoryPool pool;
  for (const DataType type : {DataType::float64, DataType::float32}) {
    LanguageModel model(pool, config_of(GetParam(), all_projections), type);
    model.initialize(3);
    move(model);
    const auto merged = merge_lora(model, pool);
    const double tolerance = type == DataType::float64 ? 1e-12 : 1e-4;
    const TokenBatch batch = random_batch(2, 17, 23, {7});
    SequenceState state = model.empty_state(pool, 2), merged_state = merged->empty_state(pool, 2);
    const std::vector<double> expected = logits(*merged, pool, batch, merged_state).to_doubles();
    EXPECT_LE(testing::relative_difference(logits(model, pool, batch, state).to_doubles(), expected), tolerance);
    DecodeState decoding(model, pool), merged_decoding(*merged, pool);
    for (std::size_t i = 0; i < 7; ++i) {
      const std::int32_t token = batch.inputs[i];
      EXPECT_LE(testing::relative_difference(decoding.advance(token).to_doubles(),
                                             merged_decoding.advance(token).to_doubles()),
                tolerance)
          << "token " << i;
    }
  }
}

// With W + s B A for W: dB = s dW A^T and dA = s B^T dW.
TEST_P(LoraOfKind, GradientsFollowFromThoseOfTheMergedWeights) {
  MemoryPool pool;
  LanguageModel model(pool, config_of(GetParam(), all_projections), DataType::float64);
  model.initialize(3);
  move(model);
  const auto merged = merge_lora(model, pool);
  for (const Parameter& parameter : model.parameters()) {
    parameter.variable.set_requires_gradient(parameter.name.find(".lora_") != std::string::npos);
  }
  const TokenBatch batch = random_batch(2, 17, 23, {7});
  const bool parallel = traits_of(GetParam()).parallel_segments;
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::cheap}, std::pair{Schedule::sequential, Recompute::segment}}) {
    if (schedule == Schedule::parallel && !parallel) continue;
    const PassOptions options{schedule, recompute, 0.5};
    const auto actual = gradients(model, pool, batch, model.empty_state(pool, 2), options);
    const auto expected = gradients(*merged, pool, batch, merged->empty_state(pool, 2), options);
    for (std::size_t i = 0; i < merged->parameters().size(); ++i) {
      const std::string& name = merged->parameters().all()[i].name;
      if (!name.ends_with("_proj.weight")) continue;
      const std::string stem = name.substr(0, name.size() - std::string("weight").size());
      const auto values = [&](const char* part) { return model.parameters().find(stem + part).master.to_doubles(); };
      const auto gradient = [&](const char* part) {
        const auto& all = model.parameters().all();
        for (std::size_t j = 0; j < all.size(); ++j) {
          if (all[j].name == stem + part) return actual.parameters[j].to_doubles();
        }
        return std::vector<double>();
      };
      const std::vector<double> d_weight = expected.parameters[i].to_doubles();
      const std::vector<double> down = values("lora_A.weight"), up = values("lora_B.weight");
      const std::size_t rank = 3, in = down.size() / rank, out = up.size() / rank;
      std::vector<double> d_down(down.size()), d_up(up.size());
      for (std::size_t o = 0; o < out; ++o) {
        for (std::size_t k = 0; k < rank; ++k) {
          for (std::size_t c = 0; c < in; ++c) {
            d_up[o * rank + k] += 2 * d_weight[o * in + c] * down[k * in + c];
            d_down[k * in + c] += 2 * d_weight[o * in + c] * up[o * rank + k];
          }
        }
      }
      EXPECT_LE(testing::relative_difference(gradient("lora_A.weight"), d_down), 1e-10) << name;
      EXPECT_LE(testing::relative_difference(gradient("lora_B.weight"), d_up), 1e-10) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, LoraOfKind,
                         ::testing::Values(AttentionKind::infini, AttentionKind::local, AttentionKind::full,
                                           AttentionKind::transformer_xl, AttentionKind::recurrent_memory,
                                           AttentionKind::memorizing),
                         [](const auto& info) { return std::string(traits_of(info.param).name); });

TEST(Lora, RefusesProjectionsThatThereAreNot) {
  for (const std::vector<std::string>& projections :
       {std::vector<std::string>{"q_proj", "q_proj"}, {"lm_head"}, {"q"}}) {
    EXPECT_THROW(config_of(AttentionKind::local, projections), ConfigError);
  }
  EXPECT_EQ(config_of(AttentionKind::infini, {}).lora.projections, (std::vector<std::string>{"q_proj", "v_proj"}));
  const ModelConfig config = config_of(AttentionKind::infini, {"v_proj"});
  MemoryPool pool;
  const LanguageModel model(pool, config, DataType::float32);
  EXPECT_EQ(config.parameters(), model.parameters().elements());
  std::size_t changed = 0;
  for (const Parameter& parameter : model.parameters())
    changed += parameter.name.find("v_proj.lora_") != std::string::npos;
  EXPECT_EQ(changed, 4u);
}

}  // namespace
}  // namespace palimpsest
