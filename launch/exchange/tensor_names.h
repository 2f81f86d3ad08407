// The names of a model's parameters in the files of Hugging Face's tools.
#pragma once

#include <string>
#include <string_view>

namespace palimpsest {

/// Before the names of parameters that transformers' models have not: it leaves tensors of such names aside with a
/// warning.
inline constexpr std::string_view own_prefix = "palimpsest.";

/// Whether a Llama or Qwen may have a parameter of this name: projections and their biases, norms, embedding and head.
bool is_released_parameter(std::string_view name);

/// "model.layers.0.mlp.up_proj.weight" or "lm_head.weight" for those, "palimpsest.layers.0.self_attn.memory_gate" for
/// all others.
std::string hugging_face_name(std::string_view parameter);

/// Whether a tensor says nothing that config.json does not: the rotary frequencies that earlier versions of
/// transformers saved.
bool is_derived_tensor(std::string_view name);

}  // namespace palimpsest
