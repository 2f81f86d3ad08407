// Tests that run for many kinds and options of attention, each with a name.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "layers/language_model.h"
#include "tests/small_config.h"

namespace palimpsest::testing {

struct NamedAttention {
  std::string name;
  AttentionConfig attention;
};

class EveryAttention : public ::testing::TestWithParam<NamedAttention> {
 protected:
  ModelConfig config() const {
    ModelConfig config = small_config(MemoryUpdate::linear);
    config.attention = GetParam().attention;
    return config.resolved();
  }
  MemoryPool pool;
};

}  // namespace palimpsest::testing
