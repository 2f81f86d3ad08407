#include "autograd/ops/feed_forward.h"

#include <fmt/format.h>

#include "core/kernels/swiglu.h"

namespace palimpsest {

namespace {

Tensor gated(MemoryPool& pool, const Variable& gate, const Variable& up) {
  Tensor result(pool, gate.shape(), gate.data_type());
  dispatch(gate.data_type(), [&]<class T>() {
    swiglu_forward(gate.value().data<T>(), up.value().data<T>(), result.elements(), result.data<T>());
  });
  return result;
}

void swiglu_gradients(MemoryPool& pool, const Variable& gate, const Variable& up, const Tensor& dy) {
  Tensor dgate(pool, gate.shape(), gate.data_type());
  // The gradient of the product has had its day and makes room for one of the factors', element by element.
  Tensor dup = dy.unique() ? dy : Tensor(pool, up.shape(), up.data_type());
  dispatch(dy.data_type(), [&]<class T>() {
    swiglu_backward(gate.value().data<T>(), up.value().data<T>(), dy.data<T>(), dy.elements(), dgate.data<T>(),
                    dup.data<T>());
  });
  if (gate.requires_gradient()) gate.add_gradient(pool, dgate);
  if (up.requires_gradient()) up.add_gradient(pool, dup);
}

}  // namespace

Variable swiglu(Tape& tape, const Variable& gate, const Variable& up) {
  const OperatorScope scope(tape, "feed-forward");
  if (!(gate.shape() == up.shape()) || gate.data_type() != up.data_type()) {
    throw ShapeError(fmt::format("swiglu: gate {} {} and up {} {}", name_of(gate.data_type()), gate.shape().to_string(),
                                 name_of(up.data_type()), up.shape().to_string()));
  }
  const bool records = tape.records({gate, up});
  Variable y = Variable::result(gated(tape.pool(), gate, up), records);
  if (records) {
    y.set_rebuild([&pool = tape.pool(), gate, up] { return gated(pool, gate, up); });
    tape.record({y}, [&pool = tape.pool(), gate, up, dy = y.gradient_slot()] {
      swiglu_gradients(pool, gate, up, dy.tensor());
    });
  }
  return y;
}

}  // namespace palimpsest
