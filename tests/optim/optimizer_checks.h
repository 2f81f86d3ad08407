// What the tests of optimizers share: a configuration of each kind, and a comparison of values.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "optim/optimizer.h"

namespace palimpsest {

inline OptimizerConfig config_of(OptimizerKind kind) {
  OptimizerConfig config;
  config.kind = kind;
  return config;
}

/// Within `allowed` of each other, relative to what is expected where that is above 1.
inline void expect_near(const std::vector<double>& expected, const std::vector<double>& actual,
                        double allowed = 1e-12) {
  ASSERT_EQ(expected.size(), actual.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(expected[i], actual[i], allowed * std::max(1.0, std::abs(expected[i]))) << "element " << i;
  }
}

}  // namespace palimpsest
