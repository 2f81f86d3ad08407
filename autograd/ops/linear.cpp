#include "autograd/ops/linear.h"

#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/matmul.h"

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

/// a b added to the gradient.
void accumulate_product(MemoryPool& pool, const GradientSlot& slot, const ConstMatrix& a, const ConstMatrix& b) {
  auto [gradient, accumulate] = slot.target(pool);
  matmul(pool, a, b, matrix_of(gradient), accumulate ? Output::accumulate : Output::overwrite);
}

/// dW += dy^T x, or later if there is `deferred`, and dx += dy W. Lets go of x in between, so that its value may make
/// room for its gradient.
void linear_backward(MemoryPool& pool, Variable& x, const Variable& weight, const Tensor& dy,
                     DeferredGradients* deferred) {
  const bool continues = x.requires_gradient();
  const GradientSlot dx = x.gradient_slot();
  if (weight.requires_gradient()) {
    std::function<void()> weight_gradient = [&pool, x = std::exchange(x, Variable()), dw = weight.gradient_slot(), dy] {
      accumulate_product(pool, dw, matrix_of(dy).transposed(), matrix_of(x.value()));
    };
    if (deferred) {
      deferred->add("linear", std::move(weight_gradient));
    } else {
      weight_gradient();
    }
  }
  if (continues) accumulate_product(pool, dx, matrix_of(dy), matrix_of(weight.value()));
}

}  // namespace

Variable linear(Tape& tape, const Variable& x, const Variable& weight,
                const std::shared_ptr<DeferredGradients>& deferred) {
  const OperatorScope scope(tape, "linear");
  Tensor product(tape.pool(), output_shape(x, weight), x.data_type());
  matmul(tape.pool(), matrix_of(x.value()), matrix_of(weight.value()).transposed(), matrix_of(product));
  const bool records = tape.records({x, weight});
  Variable y = Variable::result(std::move(product), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), x = Variable(x), weight, dy = y.gradient_slot(), deferred]() mutable {
      linear_backward(pool, x, weight, dy.tensor(), deferred.get());
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
  Tensor sum(tape.pool(), shape, x.data_type());
  matmul_added(tape.pool(), matrix_of(x.value()), matrix_of(weight.value()).transposed(), matrix_of(residual.value()),
               matrix_of(sum));
  const bool records = tape.records({x, weight, residual});
  Variable y = Variable::result(std::move(sum), records);
  if (records) {
    const bool continues = residual.requires_gradient();
    tape.record({y}, [&pool = tape.pool(), x = Variable(x), weight, continues, d_residual = residual.gradient_slot(),
                      dy = y.gradient_slot(), deferred]() mutable {
      linear_backward(pool, x, weight, dy.tensor(), deferred.get());
      if (continues) d_residual.add(pool, dy.tensor());
    });
  }
  return y;
}

}  // namespace palimpsest
