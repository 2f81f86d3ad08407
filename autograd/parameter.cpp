#include "autograd/parameter.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

Variable ParameterList::add(MemoryPool& pool, std::string name, ParameterRole role, Tensor master,
                            DataType compute_type) {
  if (std::ranges::any_of(parameters_, [&](const Parameter& p) { return p.name == name; })) {
    throw ShapeError(fmt::format("parameter {} is defined twice", name));
  }
  const bool working_copy = compute_type == DataType::bfloat16 && is_matrix(role);
  Tensor working = working_copy ? converted(pool, master, DataType::bfloat16) : master;
  Variable variable = Variable::leaf(std::move(working), master.data_type());
  parameters_.push_back({std::move(name), role, std::move(master), variable});
  return variable;
}

Parameter& ParameterList::find(std::string_view name) {
  const auto found = std::ranges::find_if(parameters_, [&](const Parameter& p) { return p.name == name; });
  if (found == parameters_.end()) throw ShapeError(fmt::format("no parameter is named {}", name));
  return *found;
}

std::int64_t ParameterList::elements() const {
  std::int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.master.elements();
  return total;
}

std::int64_t ParameterList::trained_elements() const {
  std::int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.trained() ? parameter.master.elements() : 0;
  return total;
}

void ParameterList::clear_gradients() {
  for (Parameter& parameter : parameters_) parameter.variable.clear_gradient();
}

}  // namespace palimpsest
