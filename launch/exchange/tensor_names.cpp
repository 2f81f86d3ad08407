#include "launch/exchange/tensor_names.h"

#include <algorithm>
#include <array>

namespace palimpsest {

namespace {

/// "self_attn.q_proj.weight" of "layers.12.self_attn.q_proj.weight" after `prefix` "layers."; empty for other names.
std::string_view within_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0 || digits == name.size() || name[digits] != '.') return {};
  return name.substr(digits + 1);
}

}  // namespace

bool is_released_parameter(std::string_view name) {
  constexpr auto of_model = std::to_array<std::string_view>({"embed_tokens.weight", "norm.weight", "lm_head.weight"});
  constexpr auto of_layer = std::to_array<std::string_view>(
      {"input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
       "self_attn.o_proj.weight", "self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias",
       "self_attn.q_norm.weight", "self_attn.k_norm.weight", "post_attention_layernorm.weight", "mlp.gate_proj.weight",
       "mlp.up_proj.weight", "mlp.down_proj.weight"});
  return std::ranges::count(of_model, name) != 0 || std::ranges::count(of_layer, within_layer(name, "layers.")) != 0;
}

std::string hugging_face_name(std::string_view parameter) {
  if (parameter == "lm_head.weight") return std::string(parameter);
  return std::string(is_released_parameter(parameter) ? "model." : own_prefix) + std::string(parameter);
}

bool is_derived_tensor(std::string_view name) {
  return within_layer(name, "model.layers.") == "self_attn.rotary_emb.inv_freq";
}

}  // namespace palimpsest
