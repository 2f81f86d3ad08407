#include "autograd/variable.h"

#include <utility>

#include <fmt/format.h>

namespace palimpsest {

struct GradientSlot::Content {
  Shape shape;
  DataType type;
  Tensor tensor;
};

GradientSlot::GradientSlot(Shape shape, DataType type)
    : content_(std::make_shared<Content>(Content{shape, type, {}})) {}

const Shape& GradientSlot::shape() const { return content_->shape; }
DataType GradientSlot::type() const { return content_->type; }
bool GradientSlot::filled() const { return content_->tensor.defined(); }
const Tensor& GradientSlot::tensor() const { return content_->tensor; }
Tensor& GradientSlot::tensor() { return content_->tensor; }
void GradientSlot::clear() const { content_->tensor = Tensor(); }
Tensor GradientSlot::take() const { return std::exchange(content_->tensor, Tensor()); }

Gradient<Tensor> GradientSlot::target(MemoryPool& pool) const {
  auto& [shape, type, tensor] = *content_;
  if (!tensor.defined()) {
    tensor = Tensor(pool, shape, type);
    return {tensor, false};
  }
  if (!tensor.unique()) tensor = converted(pool, tensor, type);
  return {tensor, true};
}

void GradientSlot::add(MemoryPool& pool, const Tensor& contribution) const {
  if (!(contribution.shape() == shape())) {
    throw ShapeError(fmt::format("gradient of shape {} for a value of shape {}", contribution.shape().to_string(),
                                 shape().to_string()));
  }
  if (!filled() && contribution.data_type() == type()) {
    content_->tensor = contribution;
    return;
  }
  auto [tensor, accumulate] = target(pool);
  if (accumulate) {
    add_into(tensor, contribution);
  } else {
    copy(contribution, tensor);
  }
}

struct Variable::Node {
  Tensor value;  // undefined while discarded
  DataType type;
  bool requires_gradient;
  GradientSlot gradient;  // knows the shape
  std::function<Tensor()> rebuild = {};

  Node(Tensor v, DataType gradients, bool required)
      : value(std::move(v)), type(value.data_type()), requires_gradient(required), gradient(value.shape(), gradients) {}
};

Variable::Variable(Tensor value) : Variable(result(std::move(value), false)) {}

Variable Variable::leaf(Tensor value) {
  const DataType type = value.data_type();
  return leaf(std::move(value), type);
}

Variable Variable::leaf(Tensor value, DataType gradient_type) {
  Variable variable;
  variable.node_ = std::make_shared<Node>(std::move(value), gradient_type, true);
  return variable;
}

Variable Variable::result(Tensor value, bool requires_gradient) {
  Variable variable;
  const DataType type = value.data_type();
  variable.node_ = std::make_shared<Node>(std::move(value), type, requires_gradient);
  return variable;
}

Variable::Node& Variable::node() const {
  if (!node_) throw ShapeError("an undefined variable was used");
  return *node_;
}

Tensor& Variable::value() {
  Node& node = this->node();
  if (!node.value.defined() && node.rebuild) node.value = node.rebuild();
  return node.value;
}

const Tensor& Variable::value() const { return const_cast<Variable*>(this)->value(); }

const Shape& Variable::shape() const { return node().gradient.shape(); }

DataType Variable::data_type() const { return node().type; }

void Variable::set_rebuild(std::function<Tensor()> rebuild) const { node().rebuild = std::move(rebuild); }

void Variable::discard() const {
  if (node().rebuild) node().value = Tensor();
}

bool Variable::requires_gradient() const { return node_ && node_->requires_gradient; }

void Variable::set_requires_gradient(bool required) const {
  node().requires_gradient = required;
  if (!required) clear_gradient();
}

DataType Variable::gradient_type() const { return node().gradient.type(); }

Variable Variable::detached() const { return Variable(value()); }

const GradientSlot& Variable::gradient_slot() const { return node().gradient; }
Tensor& Variable::gradient() { return node().gradient.tensor(); }

}  // namespace palimpsest
