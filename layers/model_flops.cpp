#include "layers/model_flops.h"

#include "layers/attention/registry.h"

namespace palimpsest {

double training_flops_per_token(const ModelConfig& c, std::int64_t sequence_length) {
  const auto layers = static_cast<double>(c.num_layers), heads = static_cast<double>(c.num_heads);
  const auto d = static_cast<double>(c.head_size);
  const double layer_matrices =
      static_cast<double>(c.hidden_size) *
      (d * 2.0 * (heads + static_cast<double>(c.num_kv_heads)) + 3.0 * static_cast<double>(c.ffn_size));
  const double head = static_cast<double>(c.vocab_size) * static_cast<double>(c.hidden_size);
  const double attention = traits_of(c.attention.kind).flops(c, sequence_length);
  return 6.0 * (layers * layer_matrices + head) + 3.0 * layers * attention;
}

double inference_flops_per_token(const ModelConfig& config, std::int64_t sequence_length) {
  return training_flops_per_token(config, sequence_length) / 3.0;
}

// Here, where the kinds of attention are known: configurations are read without them.
std::int64_t ModelConfig::parameters() const {
  const ModelConfig c = resolved();
  const std::int64_t attention = c.hidden_size * c.head_size * (2 * c.num_heads + 2 * c.num_kv_heads);
  const std::int64_t layer = attention + 3 * c.hidden_size * c.ffn_size + 2 * c.hidden_size;
  return c.num_layers * layer + traits_of(c.attention.kind).parameters(c) + c.hidden_size + c.vocab_size * c.hidden_size * (c.tie_embeddings ? 1 : 2);
}

}  // namespace palimpsest
