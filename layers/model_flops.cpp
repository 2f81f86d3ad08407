#include "layers/model_flops.h"

#include <tuple>

#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

/// Of a layer.
std::int64_t lora_parameters(const ModelConfig& c) {
  const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
  const std::int64_t hidden = c.hidden_size, ffn = c.ffn_size;
  std::int64_t widths = 0;
  for (const auto& [name, out, in] :
       {std::tuple{"q_proj", queries, hidden}, std::tuple{"k_proj", keys, hidden}, std::tuple{"v_proj", keys, hidden},
        std::tuple{"o_proj", hidden, queries}, std::tuple{"gate_proj", ffn, hidden}, std::tuple{"up_proj", ffn, hidden},
        std::tuple{"down_proj", hidden, ffn}}) {
    if (c.lora.changes(name)) widths += out + in;
  }
  return c.lora.rank * widths;
}

}  // namespace

double training_flops_per_token(const ModelConfig& c, std::int64_t sequence_length) {
  const auto layers = static_cast<double>(c.num_layers);
  const auto layer_matrices = static_cast<double>(layer_matrix_parameters(c));
  const double head = static_cast<double>(c.vocab_size) * static_cast<double>(c.hidden_size);
  const double attention = traits_of(c.attention.kind).flops(c, sequence_length);
  return 6.0 * (layers * layer_matrices + head) + 3.0 * layers * attention;
}

std::int64_t layer_matrix_parameters(const ModelConfig& c) {
  return c.hidden_size * (2 * c.head_size * (c.num_heads + c.num_kv_heads) + 3 * c.ffn_size);
}

double inference_flops_per_token(const ModelConfig& config, std::int64_t sequence_length) {
  return training_flops_per_token(config, sequence_length) / 3.0;
}

// Here, where the kinds of attention are known: configurations are read without them.
std::int64_t ModelConfig::parameters() const {
  const ModelConfig c = resolved();
  const std::int64_t layer = layer_matrix_parameters(c) + 2 * c.hidden_size + lora_parameters(c) +
                             (c.qkv_bias ? (c.num_heads + 2 * c.num_kv_heads) * c.head_size : 0) +
                             (c.qk_norm ? 2 * c.head_size : 0);
  return c.num_layers * layer + traits_of(c.attention.kind).parameters(c) + c.hidden_size +
         c.vocab_size * c.hidden_size * (c.tie_embeddings ? 1 : 2);
}

}  // namespace palimpsest
