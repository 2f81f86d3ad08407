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

}  // namespace palimpsest
