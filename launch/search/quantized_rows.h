// Numbers in eight bits: x is about q s, where s = (the largest |x| of its row) / 127, and q is the whole number
// nearest to x / s. The error is at most s / 2, or 0.4 % of the row's largest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace palimpsest {

struct QuantizedRows {
  std::vector<std::int8_t> values;  // q, -127 to 127
  std::vector<float> scales;        // s, one a row
};

/// `values` are rows of `width` numbers. A scale is not finite where a number of its row is not.
QuantizedRows quantize(std::span<const float> values, std::int64_t width);
/// The reverse, up to that error; `target` has as many numbers.
void restore(const QuantizedRows& rows, std::span<float> target);

}  // namespace palimpsest
