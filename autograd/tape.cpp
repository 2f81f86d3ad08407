#include "autograd/tape.h"
#include "core/elapsed.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

OperatorScope::OperatorScope(Tape& tape, std::string_view family)
    : tape_(tape), outer_family_(std::exchange(tape.family_, family)), start_(std::chrono::steady_clock::now()) {}

OperatorScope::~OperatorScope() {
  if (tape_.profile_) tape_.profile_->add_forward(tape_.family_, seconds_since(start_));
  tape_.family_ = outer_family_;
}

bool Tape::records(std::initializer_list<Variable> inputs) const {
  return mode_ != Mode::inference &&
         std::ranges::any_of(inputs, [](const Variable& v) { return v.requires_gradient(); });
}

void Tape::record(std::initializer_list<Variable> outputs, std::function<void()> backward) {
  std::vector<GradientSlot> slots;
  for (const Variable& output : outputs) slots.push_back(output.gradient_slot());
  record(std::move(slots), std::move(backward));
}

void Tape::record(std::vector<GradientSlot> outputs, std::function<void()> backward) {
  if (mode_ == Mode::record) entries_.push_back({std::move(outputs), std::move(backward), family_, nullptr});
}

BackwardStage Tape::record_stage(std::function<void()> step) {
  if (mode_ != Mode::record) return {};
  const auto asked = std::make_shared<bool>(false);
  entries_.push_back({{}, std::move(step), family_, asked});
  return BackwardStage(asked);
}

void Tape::when_back_at_this_point(std::function<void()> callback) {
  if (mode_ != Mode::preview) entries_.push_back({{}, std::move(callback), {}, std::make_shared<const bool>(true)});
}

bool Tape::Entry::reached() const {
  return (asked && *asked) || std::ranges::any_of(outputs, [](const GradientSlot& slot) { return slot.filled(); });
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

void Tape::run(Entry& entry) {
  const auto start = std::chrono::steady_clock::now();
  entry.backward();
  if (profile_ && !entry.family.empty()) profile_->add_backward(entry.family, seconds_since(start));
}

void Tape::backward_from_gradients() {
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (entry.reached()) run(entry);
    for (const GradientSlot& output : entry.outputs) output.clear();
  }
}

}  // namespace palimpsest
