// Checks gradients against central differences. It ships with the library, so that whoever adds an
// operator can prove it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace palimpsest {

struct GradientCheckOptions {
  double step = 1e-5;
  /// At most this many elements of each leaf are perturbed, evenly spaced; 0: all of them.
  std::int64_t elements_per_leaf = 0;
};

/// Where the two gradients differ most.
struct GradientCheck {
  /// |analytic - numeric| divided by the larger of the two, or by a hundredth of the leaf's largest
  /// numeric entry where both are smaller than that.
  double relative_error = 0.0;
  std::size_t leaf = 0;
  std::int64_t element = 0;
  double analytic = 0.0, numeric = 0.0;

  std::string to_string() const;
};

/// Compares, for every leaf, the gradient of a fixed random weighting of all elements of all outputs
/// of `function` with central differences in float64. The function reads the leaves it has captured;
/// their values are perturbed in place and restored, their gradients are left cleared. Throws
/// ShapeError on a leaf that is not float64 or requires no gradient.
GradientCheck check_gradients(MemoryPool& pool, const std::function<std::vector<Variable>(Tape&)>& function,
                              std::span<Variable> leaves, const GradientCheckOptions& options = {});

}  // namespace palimpsest
