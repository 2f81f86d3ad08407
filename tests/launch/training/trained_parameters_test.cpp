// Which parameters patterns mean, and what is said about those that mean none.
#include "launch/training/trained_parameters.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

using Names = std::vector<std::string>;

Names trained(const ModelConfig& config, const Names& patterns) {
  MemoryPool pool;
  LanguageModel model(pool, config, DataType::float32);
  choose_trained(patterns, model.parameters());
  Names names;
  for (const Parameter& parameter : model.parameters()) {
    if (parameter.trained()) names.push_back(parameter.name);
  }
  return names;
}

TEST(TrainedParameters, PatternsMeanWholeNames) {
  EXPECT_EQ(trained(tiny_config(), {"norm.weight"}), Names{"norm.weight"});
  EXPECT_EQ(trained(tiny_config(), {"layers.[1-9].mlp.*", "lm_hea?.weight"}),
            (Names{"layers.1.mlp.gate_proj.weight", "layers.1.mlp.up_proj.weight", "layers.1.mlp.down_proj.weight",
                   "lm_head.weight"}));
  const std::size_t all = trained(tiny_config(), {}).size();
  EXPECT_EQ(trained(tiny_config(), {"all"}).size(), all);
  EXPECT_EQ(trained(tiny_config(), {"attention"}).size(), 2 * 5u);
  MemoryPool pool;
  LanguageModel model(pool, tiny_config(), DataType::float32);
  choose_trained({"memory"}, model.parameters());
  choose_trained({}, model.parameters());
  EXPECT_EQ(model.parameters().trained_elements(), model.parameters().elements()) << "what was frozen thaws";
}

// Whatever a kind of attention or its options add to local attention is the memory's.
TEST(TrainedParameters, MemoryIsWhatLocalAttentionHasNot) {
  ModelConfig local = tiny_config();
  local.attention.kind = AttentionKind::local;
  const Names shared = trained(local, {});
  for (AttentionConfig attention :
       {AttentionConfig{},
        AttentionConfig{
            .gate = GateKind::add, .memory_readout = MemoryReadout::rms, .memory_decay = true, .overlap = 4},
        AttentionConfig{.kind = AttentionKind::recurrent_memory}, AttentionConfig{.kind = AttentionKind::memorizing}}) {
    ModelConfig config = tiny_config();
    config.attention = attention;
    config = config.resolved();
    Names own;
    for (const std::string& name : trained(config, {})) {
      if (std::ranges::find(shared, name) == shared.end()) own.push_back(name);
    }
    EXPECT_FALSE(own.empty());
    EXPECT_EQ(trained(config, {"memory"}), own);
  }
}

TEST(TrainedParameters, LoraIsAllThatIsTrainedUnlessToldOtherwise) {
  ModelConfig config = tiny_config();
  config.lora = {.rank = 2, .projections = {"v_proj"}};
  const Names lora = trained(config, {"lora"});
  EXPECT_EQ(lora, (Names{"layers.0.self_attn.v_proj.lora_A.weight", "layers.0.self_attn.v_proj.lora_B.weight",
                         "layers.1.self_attn.v_proj.lora_A.weight", "layers.1.self_attn.v_proj.lora_B.weight"}));
  EXPECT_EQ(trained(config, {}), lora);
  EXPECT_EQ(trained(config, {"lora", "memory"}).size(), 6u);
  EXPECT_EQ(trained(config, {"all"}).size(), trained(tiny_config(), {}).size() + 4);
}

TEST(TrainedParameters, APatternWithoutParameterIsNamedWithNamesNearIt) {
  const auto message = [](const ModelConfig& config, const Names& patterns) {
    return message_of<ConfigError>([&] { trained(config, patterns); });
  };
  const std::string text = message(tiny_config(), {"memory", "layers.*.self_attn.memory_gates"});
  EXPECT_TRUE(holds(text, "train.trainable: \"layers.*.self_attn.memory_gates\" means no parameter")) << text;
  EXPECT_TRUE(holds(text, "the nearest names are layers.*.self_attn.memory_gate, ")) << text;
  EXPECT_TRUE(holds(message(tiny_config(), {"memroy"}), "the nearest names are memory, "));
  ModelConfig local = tiny_config();
  local.attention.kind = AttentionKind::local;
  EXPECT_TRUE(holds(message(local, {"memory"}), "\"memory\" means no parameter"));
  EXPECT_TRUE(holds(message(local, {"memory\n"}), "\"memory\\x0A\""));
}

TEST(TrainedParameters, AMultiplierOfNothingThatIsTrainedIsAnError) {
  MemoryPool pool;
  LanguageModel model(pool, tiny_config(), DataType::float32);
  choose_trained({"attention"}, model.parameters());
  require_trained({{"*q_proj*", 0.5}, {"memory", 2}}, model.parameters());
  const std::string text = message_of<ConfigError>([&] {
    require_trained({{"memory", 2}, {"*mlp*", 0.5}}, model.parameters());
  });
  EXPECT_TRUE(holds(text,
                    "optimizer.learning_rate_multipliers[1].parameters: \"*mlp*\" means no parameter that is "
                    "trained; the nearest names are "))
      << text;
}

}  // namespace
}  // namespace palimpsest
