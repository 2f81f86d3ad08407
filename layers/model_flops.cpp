#include "layers/model_flops.h"

#include <algorithm>

namespace palimpsest {

namespace {

/// Tokens of a segment attend to 1, 2, ... keys; the last segment may be short.
double mean_keys(std::int64_t sequence_length, std::int64_t segment_length) {
  double keys = 0;
  for (std::int64_t begin = 0; begin < sequence_length; begin += segment_length) {
    const auto tokens = static_cast<double>(std::min(segment_length, sequence_length - begin));
    keys += tokens * (tokens + 1) / 2;
  }
  return keys / static_cast<double>(sequence_length);
}

}  // namespace

double training_flops_per_token(const ModelConfig& c, std::int64_t sequence_length) {
  const auto layers = static_cast<double>(c.num_layers), heads = static_cast<double>(c.num_heads);
  const auto d = static_cast<double>(c.head_size);
  const double layer_matrices =
      static_cast<double>(c.hidden_size) *
      (d * 2.0 * (heads + static_cast<double>(c.num_kv_heads)) + 3.0 * static_cast<double>(c.ffn_size));
  const double head = static_cast<double>(c.vocab_size) * static_cast<double>(c.hidden_size);
  const double attention = 2.0 * 2.0 * heads * d * mean_keys(sequence_length, c.segment_length);
  const double memory = heads * d * d * (c.attention.memory_update == MemoryUpdate::delta ? 6.0 : 4.0);
  return 6.0 * (layers * layer_matrices + head) + 3.0 * layers * (attention + memory);
}

double inference_flops_per_token(const ModelConfig& config, std::int64_t sequence_length) {
  return training_flops_per_token(config, sequence_length) / 3.0;
}

}  // namespace palimpsest
