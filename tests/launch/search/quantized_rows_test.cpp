// Numbers in eight bits, worked out by hand.
#include "launch/search/quantized_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace palimpsest {

TEST(QuantizedRows, EachRowHasTheScaleOfItsLargest) {
  const std::vector<float> values = {254, -3, 1, 0, 0, 0, -1.27F, 0.634F, 0.001F};
  const QuantizedRows rows = quantize(values, 3);
  EXPECT_EQ(rows.scales, (std::vector<float>{2, 0, 0.01F}));
  EXPECT_EQ(rows.values, (std::vector<std::int8_t>{127, -2, 0, 0, 0, 0, -127, 63, 0}));
  std::vector<float> back(9);
  restore(rows, back);
  EXPECT_EQ(back, (std::vector<float>{254, -4, 0, 0, 0, 0, -127 * 0.01F, 63 * 0.01F, 0}));
}

TEST(QuantizedRows, WhatIsNotFiniteIsSaidByTheScale) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const QuantizedRows rows = quantize(std::vector<float>{1, 2, 3, value}, 2);
    EXPECT_TRUE(std::isfinite(rows.scales[0]));
    EXPECT_FALSE(std::isfinite(rows.scales[1]));
  }
  const QuantizedRows tiny = quantize(std::vector<float>{std::numeric_limits<float>::denorm_min(), 0}, 2);
  EXPECT_EQ(tiny.values, (std::vector<std::int8_t>{0, 0}));
}

}  // namespace palimpsest
