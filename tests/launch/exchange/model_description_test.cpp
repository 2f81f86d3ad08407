// What config.json may say, what becomes of it, and what is refused by name.
#include "launch/exchange/model_description.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/launch/exchange/model_folder.h"

namespace palimpsest {
namespace {

class ModelDescriptionTest : public ::testing::Test {
 protected:
  ModelDescription read(const nlohmann::json& changes) {
    nlohmann::json json = tiny_description();
    for (const auto& [key, value] : changes.items()) {
      if (value == "absent") {
        json.erase(key);
      } else {
        json[key] = value;
      }
    }
    overwrite_file(path_, json.dump());
    return read_model_description(path_);
  }
  std::string refusal(const nlohmann::json& changes) {
    const std::string message = message_of([&] { read(changes); });
    EXPECT_TRUE(message.starts_with(path_.string() + ": ")) << message;
    return message;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "config.json";
};

TEST_F(ModelDescriptionTest, OfALlama) {
  const ModelDescription read_back = read({{"unheard_of", 1}});
  ModelConfig expected = tiny_config();
  expected.segment_length = ModelConfig().segment_length;  // a Llama has none
  expected.initializer_range = ModelConfig().initializer_range;
  EXPECT_TRUE(read_back.model == expected);
  EXPECT_EQ(read_back.context, 40);
  EXPECT_EQ(read_back.window, 0);
  EXPECT_EQ(read_back.begin_id, 256);
  EXPECT_EQ(read_back.end_id, 257);
  EXPECT_EQ(read_back.ignored, std::vector<std::string>{"unheard_of"});
  EXPECT_TRUE(read_back.own.is_null());
}

TEST_F(ModelDescriptionTest, DefaultsAreThoseOfTransformers) {
  const ModelConfig model = read({{"num_key_value_heads", "absent"},
                                  {"rms_norm_eps", "absent"},
                                  {"rope_theta", "absent"},
                                  {"tie_word_embeddings", "absent"},
                                  {"head_dim", nullptr}})
                                .model;
  EXPECT_EQ(model.num_kv_heads, 4);
  EXPECT_EQ(model.norm_epsilon, 1e-6);
  EXPECT_EQ(model.rope_theta, 10000);
  EXPECT_FALSE(model.tie_embeddings);
  EXPECT_EQ(model.head_size, 4);
}

TEST_F(ModelDescriptionTest, OfAMistral) {
  EXPECT_EQ(read({{"model_type", "mistral"}, {"sliding_window", 24}}).window, 24);
  EXPECT_EQ(read({{"model_type", "mistral"}, {"sliding_window", nullptr}}).window, 0);
  EXPECT_EQ(read({{"model_type", "mistral"}}).window, 4096);
  EXPECT_EQ(
      read({{"model_type", "mistral"}, {"num_attention_heads", 16}, {"head_dim", 4}, {"num_key_value_heads", "absent"}})
          .model.num_kv_heads,
      8);
}

TEST_F(ModelDescriptionTest, OfAQwen) {
  const auto qwen = [&](nlohmann::json changes, const char* type = "qwen3") {
    changes["model_type"] = type;
    return read(changes);
  };
  EXPECT_TRUE(qwen({}, "qwen2").model.qkv_bias && !qwen({}, "qwen2").model.qk_norm);
  EXPECT_TRUE(!qwen({}).model.qkv_bias && qwen({}).model.qk_norm);
  EXPECT_EQ(qwen({}).model.head_size, 128);
  EXPECT_EQ(qwen({}, "qwen2").model.head_size, 4);
  EXPECT_EQ(qwen({{"num_key_value_heads", "absent"}, {"num_attention_heads", 64}}).model.num_kv_heads, 32);
  EXPECT_EQ(qwen({{"num_key_value_heads", nullptr}}).model.num_kv_heads, 4);
  EXPECT_EQ(qwen({{"max_position_embeddings", "absent"}}).context, 32768);
  EXPECT_NO_THROW(qwen({{"attention_bias", true}}, "qwen2"));  // which transformers does not look at
}

TEST_F(ModelDescriptionTest, LayersOfAQwenHaveToBeAlike) {
  const auto qwen = [](nlohmann::json changes) {
    changes["model_type"] = "qwen2";
    return changes;
  };
  EXPECT_EQ(read(qwen({{"sliding_window", 24}, {"max_window_layers", 0}})).window, 0);
  for (const std::int64_t unused : {std::int64_t{0}, std::int64_t{1'000'000'000'000}}) {
    const ModelDescription whole = read(qwen({{"sliding_window", unused}, {"use_sliding_window", false}}));
    EXPECT_EQ(whole.window, 0);
    EXPECT_EQ(std::ranges::count(whole.ignored, "sliding_window"), 0);
    EXPECT_TRUE(holds(refusal(qwen({{"sliding_window", unused}, {"use_sliding_window", true}})), "sliding_window"));
  }
  const nlohmann::json slides = qwen({{"use_sliding_window", true}, {"sliding_window", 24}});
  const auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = slides;
    changed[key] = value;
    return changed;
  };
  EXPECT_EQ(read(with("sliding_window", nullptr)).window, 0);
  for (const int first : {0, 1, 2}) {
    EXPECT_TRUE(holds(refusal(with("max_window_layers", first)), "\"use_sliding_window\" is true without"));
  }
  EXPECT_EQ(read(with("layer_types", {"sliding_attention", "sliding_attention"})).window, 24);
  EXPECT_EQ(read(with("layer_types", {"full_attention", "full_attention"})).window, 0);
  EXPECT_TRUE(holds(refusal(with("layer_types", {"full_attention", "sliding_attention"})), "for 1 of 2 layers"));
  EXPECT_TRUE(holds(refusal(with("layer_types", {"full_attention"})), "expected a list of 2"));
  EXPECT_TRUE(holds(refusal(with("layer_types", {"full_attention", "linear_attention"})), "supported are full_"));
  EXPECT_TRUE(holds(refusal(qwen({{"layer_types", {"sliding_attention", "sliding_attention"}}})),
                    "has sliding_attention without \"use_sliding_window\""));
}

TEST_F(ModelDescriptionTest, HeadsMayBeOfAnyWidth) {
  EXPECT_EQ(read({{"head_dim", 10}}).model.head_size, 10);
  EXPECT_TRUE(holds(refusal({{"head_dim", 3}}), "must be even"));
  EXPECT_TRUE(holds(refusal({{"num_key_value_heads", 3}}), "is not a multiple of"));
}

TEST_F(ModelDescriptionTest, RopeScalings) {
  EXPECT_EQ(read({{"rope_scaling", nullptr}}).model.rope_scaling, RotaryScaling());
  EXPECT_EQ(read({{"rope_scaling", {{"rope_type", "default"}}}}).model.rope_scaling, RotaryScaling());
  EXPECT_EQ(read({{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}}).model.rope_scaling,
            (RotaryScaling{.kind = RotaryScalingKind::linear, .factor = 2.5}));
  const nlohmann::json llama3 = {{"rope_type", "llama3"},
                                 {"factor", 32.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 8192}};
  const RotaryScaling expected = {.kind = RotaryScalingKind::llama3,
                                  .factor = 32,
                                  .low_frequency_factor = 1,
                                  .high_frequency_factor = 4,
                                  .original_length = 8192};
  EXPECT_EQ(read({{"rope_scaling", llama3}}).model.rope_scaling, expected);
  nlohmann::json parameters = llama3;
  parameters["rope_theta"] = 500000.0;
  const ModelConfig newer = read({{"rope_theta", "absent"}, {"rope_parameters", parameters}}).model;
  EXPECT_EQ(newer.rope_scaling, expected);
  EXPECT_EQ(newer.rope_theta, 500000);
  EXPECT_TRUE(holds(refusal({{"rope_parameters", parameters}}), "says otherwise than"));
  for (const char* kind : {"yarn", "dynamic", "longrope"}) {
    EXPECT_TRUE(holds(refusal({{"rope_scaling", {{"rope_type", kind}, {"factor", 2.0}}}}),
                      std::string("is of type \"") + kind + "\"; supported are default, linear and llama3"));
  }
  EXPECT_TRUE(holds(refusal({{"rope_scaling", {{"type", "linear"}}}}), "has no positive number \"factor\""));
  EXPECT_TRUE(holds(refusal({{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}), "no positive number"));
  EXPECT_TRUE(holds(refusal({{"rope_scaling", 2}}), "\"rope_scaling\" is 2"));
}

TEST_F(ModelDescriptionTest, WhatIsComputedOtherwiseIsRefusedByName) {
  EXPECT_TRUE(holds(refusal({{"model_type", "qwen2_moe"}}),
                    "\"model_type\" is \"qwen2_moe\"; supported are llama, mistral, qwen2 and qwen3"));
  EXPECT_TRUE(holds(refusal({{"model_type", "qwen3"}, {"attention_bias", true}}), "\"attention_bias\" is true"));
  EXPECT_TRUE(holds(refusal({{"model_type", "absent"}}), "\"model_type\" is \"\""));
  EXPECT_TRUE(holds(refusal({{"attention_bias", true}}), "\"attention_bias\" is true, supported is false"));
  EXPECT_TRUE(holds(refusal({{"mlp_bias", true}}), "\"mlp_bias\" is true"));
  EXPECT_TRUE(holds(refusal({{"hidden_act", "gelu"}}), "\"hidden_act\" is \"gelu\", supported is \"silu\""));
  EXPECT_TRUE(holds(refusal({{"partial_rotary_factor", 0.5}}), "\"partial_rotary_factor\" is 0.5"));
  EXPECT_TRUE(holds(refusal({{"quantization_config", {{"bits", 4}}}}), "has \"quantization_config\""));
  EXPECT_TRUE(holds(refusal({{"auto_map", {{"AutoModel", "x.Y"}}}}), "has \"auto_map\""));
}

TEST_F(ModelDescriptionTest, ValuesOutOfRangeAreRefusedByName) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    EXPECT_TRUE(holds(refusal({{key, "absent"}}), std::string("has no \"") + key + "\""));
    for (const nlohmann::json& value : std::vector<nlohmann::json>{0, -1, 2.0, "2", true, 1e300, ~0ull}) {
      EXPECT_TRUE(holds(refusal({{key, value}}), std::string("\"") + key + "\" is ")) << value;
    }
  }
  EXPECT_TRUE(holds(refusal({{"rms_norm_eps", "1e-5"}}), "\"rms_norm_eps\" is \"1e-5\", expected a number"));
  EXPECT_TRUE(holds(refusal({{"rms_norm_eps", 0}}), "must be positive"));
  EXPECT_TRUE(holds(refusal({{"tie_word_embeddings", 1}}), "expected true or false"));
  overwrite_file(path_, "[]");
  EXPECT_TRUE(holds(message_of([&] { read_model_description(path_); }), "is no JSON object"));
}

}  // namespace
}  // namespace palimpsest
