// config.json of a Hugging Face model folder: what it says of a model's shape and mathematics, and ours as such a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "configs/run_config.h"

namespace palimpsest {

struct ModelDescription {
  ModelConfig model;         // resolved; of attention and segments only what follows from the architecture
  std::int64_t context = 0;  // tokens that the model was made for: max_position_embeddings
  std::int64_t window = 0;   // tokens that a token attends to at most, in every layer: sliding_window; 0: all
  std::optional<std::int64_t> begin_id, end_id;
  nlohmann::json own;                // what `palimpsest export` has added; null where others wrote the file
  std::vector<std::string> ignored;  // keys that transformers' model of this type does not look at either
};

/// Reads a Llama, Mistral, Qwen2 or Qwen3. Throws FileError, starting with the path and naming the key, on every other
/// type of model, on anything this program would compute otherwise (other biases, activations or RoPE scalings, layers
/// that are not alike, quantization ...), and on values that are missing, of another type or out of range.
ModelDescription read_model_description(const std::filesystem::path& path);

/// "Llama", with qkv_bias "Qwen2", with qk_norm "Qwen3": transformers' model of this mathematics. Throws ConfigError
/// where it has none: with both.
std::string_view architecture_of(const ModelConfig& model);

/// A model of this shape, by whose config.json transformers finds everything it knows of. `own` goes in under the key
/// "palimpsest". Throws ConfigError as architecture_of does.
nlohmann::ordered_json describe_model(const RunConfig& config, std::int64_t begin_id, std::int64_t end_id,
                                      const std::string& data_type, const nlohmann::ordered_json& own);

}  // namespace palimpsest
