// Qwen2 and Qwen3 as Hugging Face folders: what they compute is that of an implementation that shares no code with this
// one (tests/golden/README.md), and they leave as they came.
#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/exchange/export_model.h"
#include "launch/exchange/import_model.h"
#include "launch/training/saved_model.h"
#include "layers/decode_state.h"
#include "layers/merged_model.h"
#include "layers/training_pass.h"
#include "tests/launch/exchange/model_folder.h"
#include "tests/layers/golden_vectors.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class Qwen : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr std::int64_t vocabulary = 258;  // for the tokenizer of bytes: what the file has not is zeros

  Qwen() : golden_(GetParam()) {
    const ModelConfig& model = golden_.config;
    description_ = {{"model_type", GetParam()},
                    {"vocab_size", vocabulary},
                    {"hidden_size", model.hidden_size},
                    {"intermediate_size", model.ffn_size},
                    {"num_hidden_layers", model.num_layers},
                    {"num_attention_heads", model.num_heads},
                    {"num_key_value_heads", model.num_kv_heads},
                    {"head_dim", model.head_size},
                    {"max_position_embeddings", model.segment_length},
                    {"rms_norm_eps", model.norm_epsilon},
                    {"rope_theta", model.rope_theta},
                    {"hidden_act", "silu"},
                    {"use_sliding_window", false},
                    {"sliding_window", 4},
                    {"max_window_layers", 1},
                    {"tie_word_embeddings", false}};
    const auto add = [&](const std::string& theirs, const std::string& ours, const Shape& shape) {
      auto values = golden_.reals("parameters/" + ours,
                                  static_cast<std::size_t>(golden_.file.info("parameters/" + ours).shape.elements()));
      values.resize(static_cast<std::size_t>(shape.elements()));
      tensors_.add(theirs, Tensor::from_values(pool_, shape, DataType::float32, values));
    };
    const std::int64_t hidden = model.hidden_size, queries = model.num_heads * model.head_size;
    const std::int64_t keys = model.num_kv_heads * model.head_size;
    add("model.embed_tokens.weight", "embed_tokens.weight", {vocabulary, hidden});
    for (std::int64_t i = 0; i < model.num_layers; ++i) {
      std::vector<std::pair<std::string, Shape>> of_layer = {{"input_layernorm.weight", {hidden}},
                                                             {"self_attn.q_proj.weight", {queries, hidden}},
                                                             {"self_attn.k_proj.weight", {keys, hidden}},
                                                             {"self_attn.v_proj.weight", {keys, hidden}},
                                                             {"self_attn.o_proj.weight", {hidden, queries}},
                                                             {"post_attention_layernorm.weight", {hidden}},
                                                             {"mlp.gate_proj.weight", {model.ffn_size, hidden}},
                                                             {"mlp.up_proj.weight", {model.ffn_size, hidden}},
                                                             {"mlp.down_proj.weight", {hidden, model.ffn_size}}};
      if (GetParam() == "qwen2") {
        of_layer.emplace_back("self_attn.q_proj.bias", Shape{queries});
        of_layer.emplace_back("self_attn.k_proj.bias", Shape{keys});
        of_layer.emplace_back("self_attn.v_proj.bias", Shape{keys});
      } else {
        of_layer.emplace_back("self_attn.q_norm.weight", Shape{model.head_size});
        of_layer.emplace_back("self_attn.k_norm.weight", Shape{model.head_size});
      }
      for (const auto& [name, shape] : of_layer) {
        add(fmt::format("model.layers.{}.{}", i, name), fmt::format("layers.{}.{}", i, name), shape);
      }
    }
    add("model.norm.weight", "norm.weight", {hidden});
    add("lm_head.weight", "lm_head.weight", {vocabulary, hidden});
    write_model_folder(folder_, description_, tensors_);
  }

  /// Logits of the file's tokens, (tokens, vocabulary of the file) for each lane.
  std::vector<double> expected() const {
    return golden_.reals("expected/logits", golden_.batch.inputs.size() * static_cast<std::size_t>(file_vocabulary()));
  }
  std::int64_t file_vocabulary() const { return golden_.config.vocab_size; }
  /// Of logits of the model's vocabulary, those of the file's.
  std::vector<double> of_file(const Tensor& logits) const {
    std::vector<double> kept;
    const std::vector<double> all = logits.to_doubles();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (static_cast<std::int64_t>(i) % vocabulary < file_vocabulary()) kept.push_back(all[i]);
    }
    return kept;
  }
  SavedModel imported(const std::string& run, const std::vector<std::string>& overrides = {}) {
    import_model({folder_, directory_ / run, overrides, "bytes"}, *communicator_);
    return open_model(directory_ / run, 0, *communicator_, pool_);
  }

  Golden golden_;
  TemporaryDirectory directory_;
  fs::path folder_ = directory_ / "folder";
  MemoryPool pool_;
  nlohmann::json description_;
  StateDictionary tensors_;
  std::unique_ptr<Communicator> communicator_ = single_process();
};

TEST_P(Qwen, ComputesWhatTheReferenceDoesAndDecodesIt) {
  for (const char* kind : {"infini", "full", "local"}) {
    const SavedModel saved = imported(kind, {fmt::format("model.attention.kind={}", kind)});
    EXPECT_EQ(saved.config.model.segment_length, 18);
    SequenceState state = saved.model->empty_state(pool_, golden_.batch.lanes);
    const std::vector<double> actual = of_file(logits(*saved.model, pool_, golden_.batch, state));
    EXPECT_LT(testing::relative_difference(actual, expected()), 1e-5) << kind;
    DecodeState decoding(*saved.model, pool_);  // the first lane, one document
    std::vector<double> decoded;
    for (std::int64_t i = 0; i < golden_.batch.tokens; ++i) {
      const std::vector<double> next = of_file(decoding.advance(golden_.batch.inputs[static_cast<std::size_t>(i)]));
      decoded.insert(decoded.end(), next.begin(), next.end());
    }
    std::vector<double> first = expected();
    first.resize(decoded.size());
    EXPECT_LT(testing::relative_difference(decoded, first), 1e-5) << kind;
  }
}

TEST_P(Qwen, LeavesAsItCame) {
  const SavedModel saved = imported("run");
  const fs::path exported = directory_ / "exported";
  export_model(saved, {.folder = exported});
  const nlohmann::json json = parse_json(file_content(exported / "config.json"), "config.json");
  for (const auto& [key, value] : description_.items()) {
    if (key.find("window") == std::string::npos) {
      EXPECT_EQ(json.at(key), value) << key;
    }
  }
  EXPECT_EQ(json.at("architectures").at(0), GetParam() == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM");
  EXPECT_EQ(json.contains("attention_bias"), GetParam() == "qwen3");
  const SafetensorsFolder written(exported);
  for (const StateDictionary::Entry& entry : tensors_) {
    const std::span<const float> values = std::as_const(entry.tensor).values<float>();
    std::vector<float> again(values.size());
    ASSERT_TRUE(written.tensors().contains(entry.name)) << entry.name;
    written.tensors().at(entry.name).read(0, again);
    EXPECT_TRUE(std::ranges::equal(again, values)) << entry.name;
  }
  import_model({exported, directory_ / "again", {}, ""}, *communicator_);
  const SavedModel again = open_model(directory_ / "again", 0, *communicator_, pool_);
  EXPECT_TRUE(again.config.model == saved.config.model);
  for (const Parameter& parameter : saved.model->parameters()) {
    EXPECT_EQ(again.model->parameters().find(parameter.name).master.to_doubles(), parameter.master.to_doubles());
  }
  EXPECT_TRUE(holds(file_content(exported / "README.md"), GetParam() == "qwen2" ? "a Qwen2 with" : "a Qwen3 with"));
}

TEST_P(Qwen, LosesItsLoraOnTheWayOut) {
  SavedModel saved = imported("run", {"model.lora.rank=2"});
  for (Parameter& parameter : saved.model->parameters()) {
    if (parameter.role == ParameterRole::lora_up) fill(parameter.master, 0.25);
  }
  const auto merged = merge_lora(*saved.model, pool_);
  export_model(saved, {.folder = directory_ / "exported"});
  import_model({directory_ / "exported", directory_ / "again", {}, ""}, *communicator_);
  const SavedModel again = open_model(directory_ / "again", 0, *communicator_, pool_);
  for (const Parameter& parameter : merged->parameters()) {
    EXPECT_EQ(again.model->parameters().find(parameter.name).master.to_doubles(), parameter.master.to_doubles());
  }
}

TEST_P(Qwen, TensorsThatAreNotThereAreNamed) {
  const std::string own = GetParam() == "qwen2" ? "self_attn.k_proj.bias" : "self_attn.k_norm.weight";
  StateDictionary fewer;
  for (const StateDictionary::Entry& entry : tensors_) {
    if (entry.name != "model.layers.1." + own) fewer.add(entry.name, entry.tensor);
  }
  write_model_folder(folder_, description_, fewer);
  EXPECT_TRUE(holds(message_of([&] { imported("run"); }), "has no tensor 'model.layers.1." + own + "'"));
  description_["model_type"] = "llama";
  write_model_folder(folder_, description_, tensors_);
  EXPECT_TRUE(holds(message_of([&] { imported("run"); }), own + "'"));
  EXPECT_FALSE(fs::exists(directory_ / "run"));
}

TEST_P(Qwen, IsNotExportedWhereTransformersHasNoSuchModel) {
  SavedModel saved = imported("run");
  saved.config.model.qkv_bias = saved.config.model.qk_norm = true;
  EXPECT_THROW(export_model(saved, {.folder = directory_ / "exported"}), ConfigError);
  EXPECT_FALSE(fs::exists(directory_ / "exported"));
}

INSTANTIATE_TEST_SUITE_P(Both, Qwen, ::testing::Values("qwen2", "qwen3"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace palimpsest
