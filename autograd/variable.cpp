#include "autograd/variable.h"

#include <utility>

#include <fmt/format.h>

namespace palimpsest {

struct Variable::Node {
  Tensor value;  // undefined while discarded
  Shape shape;
  DataType type;
  DataType gradient_type;
  bool requires_gradient;
  Tensor gradient = {};
  std::function<Tensor()> rebuild = {};

  Node(Tensor v, DataType gradients, bool required)
      : value(std::move(v)),
        shape(value.shape()),
        type(value.data_type()),
        gradient_type(gradients),
        requires_gradient(required) {}
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

const Shape& Variable::shape() const { return node().shape; }

DataType Variable::data_type() const { return node().type; }

void Variable::set_rebuild(std::function<Tensor()> rebuild) const { node().rebuild = std::move(rebuild); }

void Variable::discard() const {
  if (node().rebuild) node().value = Tensor();
}

bool Variable::requires_gradient() const { return node_ && node_->requires_gradient; }

DataType Variable::gradient_type() const { return node().gradient_type; }

Variable Variable::detached() const { return Variable(value()); }

bool Variable::has_gradient() const { return node_ && node_->gradient.defined(); }

const Tensor& Variable::gradient() const { return node_->gradient; }
Tensor& Variable::gradient() { return node_->gradient; }
void Variable::clear_gradient() const { node_->gradient = Tensor(); }
Tensor Variable::take_gradient() const { return std::exchange(node_->gradient, Tensor()); }

Variable::GradientTarget Variable::gradient_target(MemoryPool& pool) const {
  Tensor& gradient = node_->gradient;
  if (!gradient.defined()) {
    gradient = Tensor(pool, node_->shape, node_->gradient_type);
    return {gradient, false};
  }
  if (!gradient.unique()) gradient = converted(pool, gradient, node_->gradient_type);
  return {gradient, true};
}

void Variable::add_gradient(MemoryPool& pool, const Tensor& contribution) const {
  if (!(contribution.shape() == node_->shape)) {
    throw ShapeError(fmt::format("gradient of shape {} for a value of shape {}", contribution.shape().to_string(),
                                 node_->shape.to_string()));
  }
  if (!node_->gradient.defined() && contribution.data_type() == node_->gradient_type) {
    node_->gradient = contribution;
    return;
  }
  auto [tensor, accumulate] = gradient_target(pool);
  if (accumulate) {
    add_into(tensor, contribution);
  } else {
    copy(contribution, tensor);
  }
}

}  // namespace palimpsest
