#include "autograd/recompute.h"

#include <algorithm>
#include <utility>

namespace palimpsest {

namespace {

class Recomputation {
 public:
  Recomputation(MemoryPool& pool, OperatorProfile* profile, RecomputedFunction function, std::vector<Variable> inputs,
                std::span<const Variable> outputs)
      : pool_(pool), profile_(profile), function_(std::move(function)), inputs_(std::move(inputs)) {
    for (const Variable& output : outputs) {
      outputs_.push_back({output.gradient_slot(), is_scalar(output) ? output.value() : Tensor()});
    }
  }

  void operator()() {
    std::vector<Variable> leaves;
    for (Variable& input : inputs_) leaves.push_back(leaf_of(input));
    Tape tape(pool_, Tape::Mode::record, profile_);
    std::vector<Variable> results = function_(tape, leaves);
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (outputs_[i].gradient.filled() && results[i].requires_gradient()) {
        results[i].add_gradient(pool_, outputs_[i].gradient.take());
      }
      if (!outputs_[i].scalar.defined()) results[i] = Variable();  // nobody needs the value any more
    }
    tape.backward_from_gradients();
    for (std::size_t i = 0; i < results.size(); ++i) {
      // A loss learns its value in backward only.
      if (outputs_[i].scalar.defined()) copy(results[i].value(), outputs_[i].scalar);
    }
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (leaves[i].has_gradient()) inputs_[i].add_gradient(pool_, leaves[i].take_gradient());
    }
  }

 private:
  struct Output {
    GradientSlot gradient;
    Tensor scalar;  // the value of an output of one element, else undefined
  };

  static bool is_scalar(const Variable& variable) { return variable.shape().elements() == 1; }

  /// A leaf with the input's value. It takes the input's gradient over, so that contributions add up
  /// in the order they would have without recomputation.
  Variable leaf_of(Variable& input) {
    if (!input.requires_gradient()) return input.detached();
    Variable leaf = Variable::leaf(input.value(), input.gradient_type());
    if (input.has_gradient()) leaf.add_gradient(pool_, input.take_gradient());
    return leaf;
  }

  MemoryPool& pool_;
  OperatorProfile* profile_;
  RecomputedFunction function_;
  std::vector<Variable> inputs_;
  std::vector<Output> outputs_;
};

}  // namespace

std::vector<Variable> recompute(Tape& tape, RecomputedFunction function, std::vector<Variable> inputs) {
  if (tape.mode() != Tape::Mode::record) return function(tape, inputs);
  std::vector<Variable> seen;  // not the inputs themselves, which may collect gradients already
  for (const Variable& input : inputs) {
    seen.push_back(input.requires_gradient() ? Variable::leaf(input.value(), input.gradient_type()) : input.detached());
  }
  Tape preview(tape.pool(), Tape::Mode::preview, tape.profile());
  std::vector<Variable> outputs;
  for (const Variable& output : function(preview, seen)) {
    outputs.push_back(Variable::result(output.value(), output.requires_gradient()));
  }
  seen.clear();
  if (std::ranges::none_of(outputs, &Variable::requires_gradient)) return outputs;
  std::vector<GradientSlot> slots;
  for (const Variable& output : outputs) slots.push_back(output.gradient_slot());
  tape.record(std::move(slots),
              Recomputation(tape.pool(), tape.profile(), std::move(function), std::move(inputs), outputs));
  return outputs;
}

}  // namespace palimpsest
