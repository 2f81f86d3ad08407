#include "autograd/ops/linear.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/gemm.h"

namespace palimpsest {

namespace {

Shape output_shape(const Variable& x, const Variable& weight) {
  if (x.shape().rank() < 1 || weight.shape().rank() != 2 || x.shape()[-1] != weight.shape()[1] ||
      x.data_type() != weight.data_type()) {
    throw ShapeError(fmt::format("linear: x {} {} and weight {} {}; expected (..., in) and (out, in) of one type",
                                 name_of(x.data_type()), x.shape().to_string(), name_of(weight.data_type()),
                                 weight.shape().to_string()));
  }
  std::vector<std::int64_t> extents(x.shape().extents().begin(), x.shape().extents().end());
  extents.back() = weight.shape()[0];
  return Shape(extents);
}

/// a b added to the variable's gradient.
void accumulate_product(MemoryPool& pool, const Variable& variable, const ConstMatrix& a, const ConstMatrix& b) {
  auto [gradient, accumulate] = variable.gradient_target(pool);
  matmul(a, b, matrix_of(gradient), accumulate ? Output::accumulate : Output::overwrite);
}

/// dx += dy W, dW += dy^T x
void linear_backward(MemoryPool& pool, const Variable& x, const Variable& weight, const Tensor& dy,
                     DeferredGradients* deferred) {
  if (x.requires_gradient()) accumulate_product(pool, x, matrix_of(dy), matrix_of(weight.value()));
  if (!weight.requires_gradient()) return;
  const auto weight_gradient = [&pool, x, weight, dy] {
    accumulate_product(pool, weight, matrix_of(dy).transposed(), matrix_of(x.value()));
  };
  if (deferred) {
    deferred->add("linear", weight_gradient);
  } else {
    weight_gradient();
  }
}

}  // namespace

Variable linear(Tape& tape, const Variable& x, const Variable& weight,
                const std::shared_ptr<DeferredGradients>& deferred) {
  const OperatorScope scope(tape, "linear");
  Tensor product(tape.pool(), output_shape(x, weight), x.data_type());
  matmul(matrix_of(x.value()), matrix_of(weight.value()).transposed(), matrix_of(product));
  const bool records = tape.records({x, weight});
  Variable y = Variable::result(std::move(product), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), x, weight, y, deferred] {
      linear_backward(pool, x, weight, y.gradient(), deferred.get());
    });
  }
  return y;
}

Variable linear_add(Tape& tape, const Variable& x, const Variable& weight, const Variable& residual,
                    const std::shared_ptr<DeferredGradients>& deferred) {
  const OperatorScope scope(tape, "linear");
  const Shape shape = output_shape(x, weight);
  if (!(residual.shape() == shape) || residual.data_type() != x.data_type()) {
    throw ShapeError(fmt::format("linear_add: the residual is {} {}, the product {} {}", name_of(residual.data_type()),
                                 residual.shape().to_string(), name_of(x.data_type()), shape.to_string()));
  }
  Tensor sum = converted(tape.pool(), residual.value(), residual.data_type());
  matmul(matrix_of(x.value()), matrix_of(weight.value()).transposed(), matrix_of(sum), Output::accumulate);
  const bool records = tape.records({x, weight, residual});
  Variable y = Variable::result(std::move(sum), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), x, weight, residual, y, deferred] {
      linear_backward(pool, x, weight, y.gradient(), deferred.get());
      if (residual.requires_gradient()) residual.add_gradient(pool, y.gradient());
    });
  }
  return y;
}

}  // namespace palimpsest
