#include "launch/training/not_finite.h"

#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>

#include "core/comm/agreement.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

namespace {

bool all_finite(const Tensor& tensor) {
  return dispatch(tensor.data_type(), [&]<class T>() {
    return std::ranges::all_of(tensor.values<T>(), [](T value) { return std::isfinite(static_cast<float>(value)); });
  });
}

}  // namespace

std::string first_not_finite(const ParameterList& parameters, const std::vector<SequenceState>& memories,
                             std::int64_t first_lane) {
  for (const Parameter& parameter : parameters) {
    if (!all_finite(parameter.master)) return parameter.name;
  }
  std::int64_t lane = first_lane;
  std::string found;
  for (const SequenceState& memory : memories) {
    for (std::int64_t i = 0; i < memory.lanes() && found.empty(); ++i, ++lane) {
      memory.for_each([&](const std::string& name, const Tensor& tensor) {
        if (found.empty() && !all_finite(tensor.rows(i, i + 1))) {
          found = fmt::format("the memory of lane {}, {}", lane, name);
        }
      });
    }
  }
  if (!found.empty()) return found;
  for (const Parameter& parameter : parameters) {
    if (parameter.variable.has_gradient() && !all_finite(parameter.variable.gradient())) {
      return "the gradient of " + parameter.name;
    }
  }
  return "";
}

std::string explain_not_finite(const ParameterList& parameters, const std::vector<SequenceState>& memories,
                               std::int64_t first_lane, bool own_loss_finite, Communicator& communicator) {
  const std::string found = first_not_finite(parameters, memories, first_lane);
  const int rank = communicator.rank(), ranks = communicator.size();
  // The lowest rank whose own loss is wrong speaks, else the lowest that finds a tensor: sums have spread to all.
  std::int64_t claim = !own_loss_finite ? 2 * ranks - rank : !found.empty() ? ranks - rank : 0;
  communicator.all_reduce_max(std::span(&claim, 1));
  if (claim == 0) return "the sum of losses or the gradient norm is not finite, though every tensor is";
  return broadcast_text(communicator,
                        fmt::format("{} of rank {} on {} is not finite{}", own_loss_finite ? "a gradient" : "the loss",
                                    rank, host_name(), found.empty() ? "" : ", and the first such tensor is " + found),
                        ranks - static_cast<int>((claim - 1) % ranks) - 1);
}

}  // namespace palimpsest
