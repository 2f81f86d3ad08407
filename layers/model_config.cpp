#include "layers/model_config.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw ConfigError(message);
}

void require_projections(const LoraConfig& lora) {
  constexpr std::array<std::string_view, 7> known = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                     "gate_proj", "up_proj", "down_proj"};
  require(lora.rank >= 0 && lora.alpha > 0,
          fmt::format("model.lora: rank {} and alpha {} must be positive", lora.rank, lora.alpha));
  for (const std::string& name : lora.projections) {
    require(std::ranges::find(known, name) != known.end() && std::ranges::count(lora.projections, name) == 1,
            fmt::format("model.lora.projections holds \"{}\", expected some of {}, each once", printable(name),
                        fmt::join(known, ", ")));
  }
}

}  // namespace

bool LoraConfig::changes(std::string_view projection) const {
  return rank > 0 && std::ranges::find(projections, projection) != projections.end();
}

ModelConfig ModelConfig::resolved() const {
  ModelConfig c = *this;
  require(c.vocab_size > 0, "model.vocab_size must be positive");
  require(c.hidden_size > 0 && c.num_layers > 0 && c.num_heads > 0 && c.ffn_size > 0 && c.segment_length > 0,
          "model sizes must be positive");
  if (c.num_kv_heads == 0) c.num_kv_heads = c.num_heads;
  if (c.head_size == 0) {
    require(c.hidden_size % c.num_heads == 0,
            fmt::format("model.hidden_size {} is not a multiple of model.num_heads {}; set model.head_size",
                        c.hidden_size, c.num_heads));
    c.head_size = c.hidden_size / c.num_heads;
  }
  require(c.num_heads % c.num_kv_heads == 0,
          fmt::format("model.num_heads {} is not a multiple of model.num_kv_heads {}", c.num_heads, c.num_kv_heads));
  require(c.head_size % 2 == 0, fmt::format("model.head_size {} must be even: RoPE rotates pairs", c.head_size));
  require(c.attention.memory_epsilon > 0 && c.norm_epsilon > 0,
          "model.attention.memory_epsilon and model.norm_epsilon must be positive");
  require(c.attention.overlap >= 0 && c.attention.overlap <= c.segment_length,
          fmt::format("model.attention.overlap {} must not exceed model.segment_length {}", c.attention.overlap,
                      c.segment_length));
  AttentionConfig& attention = c.attention;
  require(
      attention.kind != AttentionKind::infini || !attention.memory_shift || c.segment_length > 1,
      "model.attention.memory_shift needs a model.segment_length of at least 2: the first token of a segment is not "
      "written");
  if (attention.kind == AttentionKind::infini && attention.memory_features == MemoryFeatures::identity) {
    require(
        attention.memory_readout == MemoryReadout::rms,
        "model.attention.memory_features identity needs memory_readout rms: sums of keys of either sign are no norm to "
        "divide by");
    require(attention.memory_update == MemoryUpdate::linear,
            "model.attention.memory_features identity needs memory_update linear: the delta rule divides by a norm");
  }
  if (attention.kind == AttentionKind::transformer_xl && attention.cache_length == 0) {
    attention.cache_length = c.segment_length;
  }
  if (attention.kind == AttentionKind::memorizing) {
    if (attention.memory_layer < 0) attention.memory_layer = (3 * c.num_layers + 3) / 4 - 1;
    require(attention.memory_layer < c.num_layers,
            fmt::format("model.attention.memory_layer {} is not one of the layers 0 to {}", attention.memory_layer,
                        c.num_layers - 1));
  }
  require(c.rope_theta > 1, fmt::format("model.rope_theta {} must be greater than 1", c.rope_theta));
  const RotaryScaling& scaling = c.rope_scaling;
  require(scaling.factor > 0, fmt::format("model.rope_scaling.factor {} must be positive", scaling.factor));
  require(scaling.kind != RotaryScalingKind::llama3 || scaling.high_frequency_factor > scaling.low_frequency_factor,
          fmt::format("model.rope_scaling.high_frequency_factor {} must be greater than low_frequency_factor {}",
                      scaling.high_frequency_factor, scaling.low_frequency_factor));
  require_projections(c.lora);
  if (c.lora.rank > 0 && c.lora.projections.empty()) c.lora.projections = {"q_proj", "v_proj"};
  return c;
}

}  // namespace palimpsest
