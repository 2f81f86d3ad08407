#include "autograd/tape.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

bool Tape::records(std::initializer_list<Variable> inputs) const {
  return mode_ == Mode::record && std::ranges::any_of(inputs, [](const Variable& v) { return v.requires_gradient(); });
}

void Tape::record(std::vector<Variable> outputs, std::function<void()> backward) {
  entries_.push_back({std::move(outputs), std::move(backward)});
}

void Tape::backward(std::span<const Variable> roots) {
  for (const Variable& root : roots) {
    if (root.value().elements() != 1) {
      throw ShapeError(fmt::format("backward needs scalars, got shape {}", root.shape().to_string()));
    }
    auto [seed, accumulate] = root.gradient_target(pool_);
    fill(seed, 1.0);
  }
  backward_from_gradients();
}

void Tape::backward_from_gradients() {
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    const bool reached = std::ranges::any_of(entry.outputs, [](const Variable& v) { return v.has_gradient(); });
    if (reached) entry.backward();
    for (Variable& output : entry.outputs) output.clear_gradient();
  }
}

}  // namespace palimpsest
