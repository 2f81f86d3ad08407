// A tensor that takes part in differentiation. A Variable is a handle: copies refer to the same node,
// and a const handle may still receive gradients.
#pragma once

#include <functional>
#include <memory>

#include "core/tensor.h"

namespace palimpsest {

class Variable {
 public:
  /// Undefined: `defined()` is false.
  Variable() = default;
  /// A constant: no gradient flows into it.
  explicit Variable(Tensor value);
  /// A leaf whose gradient is wanted. Parameters keep theirs in `gradient_type` (float32 for
  /// bfloat16 working copies); others in the type of the value.
  static Variable leaf(Tensor value);
  static Variable leaf(Tensor value, DataType gradient_type);
  /// The result of an operation, wanting a gradient or not.
  static Variable result(Tensor value, bool requires_gradient);

  bool defined() const { return node_ != nullptr; }
  /// Computed again first if it was discarded.
  const Tensor& value() const;
  Tensor& value();
  const Shape& shape() const;
  DataType data_type() const;

  /// Gives the operator that made this value a way to make it again, with the same bits.
  void set_rebuild(std::function<Tensor()> rebuild) const;
  /// Lets go of a value that can be rebuilt, until somebody asks for it; else does nothing.
  void discard() const;

  bool requires_gradient() const;
  /// The element type in which the gradient accumulates.
  DataType gradient_type() const;
  /// The same value as a constant: gradients stop here.
  Variable detached() const;

  bool has_gradient() const;
  /// Undefined until something has been accumulated.
  const Tensor& gradient() const;
  Tensor& gradient();
  void clear_gradient() const;
  /// Moves the gradient out, leaving none.
  Tensor take_gradient() const;

  /// Where an operation's backward writes this input's gradient: a tensor of its own storage, and
  /// whether it holds earlier contributions to be added to (else it is unspecified and must be
  /// overwritten whole).
  struct GradientTarget {
    Tensor tensor;
    bool accumulate;
  };
  GradientTarget gradient_target(MemoryPool& pool) const;
  /// Adds a whole tensor; the first contribution is kept as it is, sharing its storage.
  void add_gradient(MemoryPool& pool, const Tensor& contribution) const;

 private:
  struct Node;
  /// Throws ShapeError on an undefined variable.
  Node& node() const;

  std::shared_ptr<Node> node_;
};

}  // namespace palimpsest
