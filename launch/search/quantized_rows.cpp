#include "launch/search/quantized_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace palimpsest {

QuantizedRows quantize(std::span<const float> values, std::int64_t width) {
  constexpr float largest = std::numeric_limits<std::int8_t>::max();
  QuantizedRows rows;
  rows.values.reserve(values.size());
  for (; !values.empty(); values = values.subspan(static_cast<std::size_t>(width))) {
    const auto row = values.first(static_cast<std::size_t>(width));
    float most = 0;
    bool finite = true;
    for (const float value : row) {
      most = std::max(most, std::abs(value));
      finite = finite && std::isfinite(value);
    }
    rows.scales.push_back(finite ? most / largest : std::numeric_limits<float>::infinity());
    // So small a scale that it is 0, or that the quotient leaves the range, keeps nothing.
    for (const float value : row) {
      const float quotient = finite && rows.scales.back() > 0 ? std::nearbyint(value / rows.scales.back()) : 0.0F;
      rows.values.push_back(static_cast<std::int8_t>(std::clamp(quotient, -largest, largest)));
    }
  }
  return rows;
}

void restore(const QuantizedRows& rows, std::span<float> target) {
  if (rows.scales.empty()) return;
  const std::size_t width = target.size() / rows.scales.size();
  for (std::size_t i = 0; i < target.size(); ++i) {
    target[i] = static_cast<float>(rows.values[i]) * rows.scales[i / width];
  }
}

}  // namespace palimpsest
