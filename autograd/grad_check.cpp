#include "autograd/grad_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/random.h"

namespace palimpsest {

namespace {

using CheckedFunction = std::function<std::vector<Variable>(Tape&)>;

/// The weight of element `index`, counted over all outputs: +-(0.5 to 1), so that none vanishes.
double output_weight(std::uint64_t index) {
  const double value = Random(0, RandomPurpose::test).uniform(index) - 0.5;
  return value < 0.0 ? value - 0.5 : value + 0.5;
}

std::vector<double> evaluate(MemoryPool& pool, const CheckedFunction& function) {
  Tape tape(pool, Tape::Mode::inference);
  std::vector<double> values;
  for (const Variable& output : function(tape)) {
    const std::vector<double> elements = output.value().to_doubles();
    values.insert(values.end(), elements.begin(), elements.end());
  }
  return values;
}

/// Leaves the gradient of the weighted sum in the leaves.
void differentiate(MemoryPool& pool, const CheckedFunction& function) {
  Tape tape(pool);
  std::uint64_t index = 0;
  for (Variable& output : function(tape)) {
    std::vector<double> weights(static_cast<std::size_t>(output.value().elements()));
    for (double& weight : weights) weight = output_weight(index++);
    if (output.requires_gradient()) {
      output.add_gradient(pool, Tensor::from_values(pool, output.shape(), output.data_type(), weights));
    }
  }
  tape.backward_from_gradients();
}

double central_difference(MemoryPool& pool, const CheckedFunction& function, double& element, double step) {
  const double original = element;
  const double distance = step * std::max(1.0, std::abs(original));
  element = original + distance;
  const double right = element;
  const std::vector<double> above = evaluate(pool, function);
  element = original - distance;
  const double left = element;
  const std::vector<double> below = evaluate(pool, function);
  element = original;
  // Differences before sums: the outputs that do not change cancel exactly.
  double change = 0.0;
  for (std::size_t i = 0; i < above.size(); ++i) change += output_weight(i) * (above[i] - below[i]);
  return change / (right - left);
}

}  // namespace

std::string GradientCheck::to_string() const {
  return fmt::format("relative error {:.3g} at leaf {}, element {}: analytic {:.12g}, numeric {:.12g}", relative_error,
                     leaf, element, analytic, numeric);
}

GradientCheck check_gradients(MemoryPool& pool, const CheckedFunction& function, std::span<Variable> leaves,
                              const GradientCheckOptions& options) {
  for (Variable& leaf : leaves) {
    if (leaf.data_type() != DataType::float64 || !leaf.requires_gradient()) {
      throw ShapeError("check_gradients: leaves have to be float64 and to require a gradient");
    }
    leaf.clear_gradient();
  }
  differentiate(pool, function);
  GradientCheck worst;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    Variable& leaf = leaves[i];
    const std::int64_t elements = leaf.value().elements();
    const std::vector<double> gradient =
        leaf.has_gradient() ? leaf.gradient().to_doubles() : std::vector<double>(static_cast<std::size_t>(elements));
    const std::int64_t stride =
        options.elements_per_leaf == 0
            ? 1
            : std::max<std::int64_t>(1, (elements + options.elements_per_leaf - 1) / options.elements_per_leaf);
    std::vector<double> numeric(gradient.size());
    double largest = 0.0;
    for (std::int64_t j = 0; j < elements; j += stride) {
      numeric[j] = central_difference(pool, function, leaf.value().data<double>()[j], options.step);
      largest = std::max(largest, std::abs(numeric[j]));
    }
    for (std::int64_t j = 0; j < elements; j += stride) {
      const double scale = std::max({std::abs(gradient[j]), std::abs(numeric[j]), 0.01 * largest});
      const double difference = std::abs(gradient[j] - numeric[j]);
      const double error = difference == 0.0           ? 0.0
                           : std::isfinite(difference) ? difference / scale
                                                       : std::numeric_limits<double>::infinity();
      if (error > worst.relative_error) worst = {error, i, j, gradient[j], numeric[j]};
    }
    leaf.clear_gradient();
  }
  return worst;
}

}  // namespace palimpsest
