// Tests that run for many kinds and options of attention, each with a name.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "layers/language_model.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest::testing {

struct NamedAttention {
  std::string name;
  AttentionConfig attention;
  bool as_qwen = false;  // with biases, and norms of queries and keys
};

class EveryAttention : public ::testing::TestWithParam<NamedAttention> {
 protected:
  ModelConfig config() const {
    ModelConfig config = small_config(MemoryUpdate::linear);
    config.attention = GetParam().attention;
    config.qkv_bias = config.qk_norm = GetParam().as_qwen;
    return config.resolved();
  }
  /// As a model that has been trained for a while: with biases that are not zero and norms that are not one.
  void initialize(LanguageModel& model, std::uint64_t seed) {
    model.initialize(seed);
    for (Parameter& parameter : model.parameters()) {
      const bool norm = parameter.name.ends_with("q_norm.weight") || parameter.name.ends_with("k_norm.weight");
      if (!norm && parameter.role != ParameterRole::bias) continue;
      copy(normal_tensor(pool, parameter.master.shape(), parameter.master.data_type(), ++seed), parameter.master);
    }
  }
  MemoryPool pool;
};

}  // namespace palimpsest::testing
