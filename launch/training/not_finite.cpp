#include "launch/training/not_finite.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace palimpsest {

namespace {

bool all_finite(const Tensor& tensor) {
  return dispatch(tensor.data_type(), [&]<class T>() {
    return std::ranges::all_of(tensor.values<T>(), [](T value) { return std::isfinite(static_cast<float>(value)); });
  });
}

}  // namespace

std::string first_not_finite(const ParameterList& parameters, const std::vector<MemoryState>& memories,
                             std::int64_t first_lane) {
  for (const Parameter& parameter : parameters) {
    if (!all_finite(parameter.master)) return parameter.name;
  }
  std::int64_t lane = first_lane;
  for (const MemoryState& memory : memories) {
    for (std::int64_t i = 0; i < memory.lanes(); ++i, ++lane) {
      for (std::size_t layer = 0; layer < memory.layers.size(); ++layer) {
        if (!all_finite(memory.layers[layer].matrix.rows(i, i + 1)) ||
            !all_finite(memory.layers[layer].norm.rows(i, i + 1))) {
          return fmt::format("the memory of lane {}, layers.{}", lane, layer);
        }
      }
    }
  }
  for (const Parameter& parameter : parameters) {
    if (parameter.variable.has_gradient() && !all_finite(parameter.variable.gradient())) {
      return "the gradient of " + parameter.name;
    }
  }
  return "";
}

}  // namespace palimpsest
