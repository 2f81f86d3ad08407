// A tensor that takes part in differentiation. A Variable is a handle: copies refer to the same node,
// and a const handle may still receive gradients.
#pragma once

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
  const Tensor& value() const;
  Tensor& value();
  const Shape& shape() const { return value().shape(); }
  DataType data_type() const { return value().data_type(); }
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
  std::shared_ptr<Node> node_;
};

}  // namespace palimpsest
