// A tensor that takes part in differentiation. A Variable is a handle: copies refer to the same node,
// and a const handle may still receive gradients.
#pragma once

#include <functional>
#include <memory>

#include "core/gradient.h"
#include "core/tensor.h"

namespace palimpsest {

/// Where the gradient of a variable accumulates: a handle that does not keep the variable's value alive, for a backward
/// that needs no more than the gradient of its result.
class GradientSlot {
 public:
  const Shape& shape() const;
  /// The element type in which the gradient accumulates.
  DataType type() const;

  /// False until something has been accumulated; `tensor` is undefined then.
  bool filled() const;
  const Tensor& tensor() const;
  Tensor& tensor();
  void clear() const;
  /// Moves the gradient out, leaving none.
  Tensor take() const;

  /// Where an operation's backward writes an input's gradient: a tensor of its own storage.
  Gradient<Tensor> target(MemoryPool& pool) const;
  /// Adds a whole tensor; the first contribution is kept as it is, sharing its storage.
  void add(MemoryPool& pool, const Tensor& contribution) const;

 private:
  friend class Variable;
  struct Content;
  GradientSlot(Shape shape, DataType type);

  std::shared_ptr<Content> content_;
};

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
  /// Of a leaf: whether its gradient is wanted from now on. What was recorded before does not hear of it.
  void set_requires_gradient(bool required) const;
  /// The element type in which the gradient accumulates.
  DataType gradient_type() const;
  /// The same value as a constant: gradients stop here.
  Variable detached() const;

  const GradientSlot& gradient_slot() const;

  // The slot's, in short.
  bool has_gradient() const { return defined() && gradient_slot().filled(); }
  const Tensor& gradient() const { return gradient_slot().tensor(); }
  Tensor& gradient();
  void clear_gradient() const { gradient_slot().clear(); }
  Tensor take_gradient() const { return gradient_slot().take(); }
  Gradient<Tensor> gradient_target(MemoryPool& pool) const { return gradient_slot().target(pool); }
  /// The same where a gradient is wanted, else an empty one, which costs nothing.
  Gradient<Tensor> wanted_gradient(MemoryPool& pool) const {
    return requires_gradient() ? gradient_target(pool) : Gradient<Tensor>{};
  }
  void add_gradient(MemoryPool& pool, const Tensor& contribution) const { gradient_slot().add(pool, contribution); }

 private:
  struct Node;
  /// Throws ShapeError on an undefined variable.
  Node& node() const;

  std::shared_ptr<Node> node_;
};

}  // namespace palimpsest
