// A Hugging Face model folder made up for tests: a small Llama with grouped queries.
#pragma once

#include <filesystem>
#include <string>

#include "core/io/safetensors.h"
#include "launch/exchange/tensor_names.h"
#include "tests/file_damage.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {

/// config.json as transformers would write it for tiny_config().
inline nlohmann::json tiny_description() {
  const ModelConfig model = tiny_config();
  return {{"architectures", nlohmann::json::array({"LlamaForCausalLM"})},
          {"model_type", "llama"},
          {"hidden_size", model.hidden_size},
          {"intermediate_size", model.ffn_size},
          {"num_hidden_layers", model.num_layers},
          {"num_attention_heads", model.num_heads},
          {"num_key_value_heads", model.num_kv_heads},
          {"vocab_size", model.vocab_size},
          {"max_position_embeddings", 40},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"bos_token_id", 256},
          {"eos_token_id", 257},
          {"torch_dtype", "float32"},
          {"transformers_version", "4.40.0"}};
}

/// What a Llama or Qwen has of the model's parameters, under Hugging Face's names.
inline StateDictionary released_tensors(const LanguageModel& model) {
  StateDictionary tensors;
  for (const Parameter& parameter : model.parameters()) {
    if (is_released_parameter(parameter.name)) tensors.add(hugging_face_name(parameter.name), parameter.master);
  }
  return tensors;
}

inline void write_model_folder(const std::filesystem::path& folder, const nlohmann::json& description,
                               const StateDictionary& tensors, DataType type = DataType::float32,
                               std::uint64_t shard_bytes = 1'000'000) {
  std::filesystem::create_directories(folder);
  overwrite_file(folder / "config.json", description.dump());
  write_safetensors_folder(folder, tensors, type, {{"format", "pt"}}, shard_bytes);
}

}  // namespace palimpsest
