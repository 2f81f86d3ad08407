// Whose weights a run begins with, and what does not fit.
#include "launch/training/initial_weights.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

class InitialWeightsTest : public testing::Test {
 protected:
  StoredModel stored(const ModelConfig& config = tiny_config()) {
    StoredModel stored{.path = "old", .config = {}, .tokenizer_identity = "bytes", .model = nullptr, .made_up = {}};
    stored.config.model = config;
    stored.model = std::make_unique<LanguageModel>(pool_, config, DataType::float32);
    stored.model->initialize(1);
    return stored;
  }
  TakenWeights take(const StoredModel& from, bool allow_unused = false) {
    RunConfig config;
    config.model = model_->config();
    return take_weights(from, config, "bytes", allow_unused, model_->parameters());
  }
  void make_model(const ModelConfig& config, DataType type = DataType::float32) {
    model_ = std::make_unique<LanguageModel>(pool_, config, type);
    model_->initialize(2);
  }

  MemoryPool pool_;
  std::unique_ptr<LanguageModel> model_ = tiny_model(pool_);
};

TEST_F(InitialWeightsTest, AreTheStoredOnes) {
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    make_model(tiny_config(), type);
    StoredModel from = stored();
    const TakenWeights taken = take(from);
    EXPECT_TRUE(taken.initialized.empty() && taken.unused.empty() && taken.differences.empty());
    for (const Parameter& parameter : from.model->parameters()) {
      Parameter& now = model_->parameters().find(parameter.name);
      EXPECT_EQ(now.master.to_doubles(), parameter.master.to_doubles()) << parameter.name;
      const Tensor expected = converted(pool_, parameter.master, now.variable.value().data_type());
      EXPECT_EQ(now.variable.value().to_doubles(), expected.to_doubles()) << "what is computed with follows";
    }
  }
}

TEST_F(InitialWeightsTest, WhatIsNewStaysAsItWasAndIsListed) {
  ModelConfig local = tiny_config();
  local.attention.kind = AttentionKind::local;
  local.segment_length = 4;
  const std::vector<double> gate = model_->parameters().find("layers.0.self_attn.memory_gate").master.to_doubles();
  const TakenWeights taken = take(stored(local));
  EXPECT_EQ(taken.initialized,
            (std::vector<std::string>{"layers.0.self_attn.memory_gate", "layers.1.self_attn.memory_gate"}));
  EXPECT_EQ(model_->parameters().find("layers.0.self_attn.memory_gate").master.to_doubles(), gate);
  EXPECT_EQ(taken.differences.front(), "model.segment_length: 4 -> 8");
  // A parameter that a model has by its configuration alone is no stored one.
  StoredModel released = stored();
  released.made_up = {"layers.1.self_attn.memory_gate"};
  EXPECT_EQ(take(released).initialized, released.made_up);
}

TEST_F(InitialWeightsTest, WhatIsLeftOverIsAnErrorUnlessAllowed) {
  ModelConfig local = tiny_config();
  local.attention.kind = AttentionKind::local;
  make_model(local);
  const std::vector<double> before = model_->parameters().find("norm.weight").master.to_doubles();
  const std::string message = message_of<ConfigError>([&] { take(stored()); });
  EXPECT_TRUE(holds(message, "layers.0.self_attn.memory_gate, layers.1.self_attn.memory_gate")) << message;
  EXPECT_EQ(take(stored(), true).unused.size(), 2u);
}

TEST_F(InitialWeightsTest, ShapesAndTokenizersHaveToBeTheSame) {
  ModelConfig wide = tiny_config();
  wide.ffn_size = 32;
  const std::string message = message_of<ConfigError>([&] { take(stored(wide)); });
  EXPECT_TRUE(holds(message, "layers.0.mlp.gate_proj.weight is (32, 16), expected (24, 16)")) << message;
  StoredModel other = stored();
  other.tokenizer_identity = "sentencepiece:1234";
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { take(other); }), "sentencepiece:1234"));
}

}  // namespace
}  // namespace palimpsest
