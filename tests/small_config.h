// The model of the tests that share a sequence between ranks: small, with sizes that all differ.
#pragma once

#include "layers/model_config.h"

namespace palimpsest::testing {

inline ModelConfig small_config(MemoryUpdate update, std::int64_t segment_length = 5) {
  ModelConfig config;
  config.vocab_size = 23;
  config.hidden_size = 16;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_size = 6;
  config.ffn_size = 20;
  config.segment_length = segment_length;
  config.attention.memory_update = update;
  config.initializer_range = 0.3;  // large, so that every path matters
  config.attention.initial_gate = 0.4;
  return config.resolved();
}

}  // namespace palimpsest::testing
