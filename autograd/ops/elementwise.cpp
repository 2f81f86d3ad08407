#include "autograd/ops/elementwise.h"

#include <fmt/format.h>

#include "core/kernels/elementwise.h"

namespace palimpsest {

Variable add(Tape& tape, const Variable& a, const Variable& b) {
  const OperatorScope scope(tape, "add");
  if (!(a.shape() == b.shape()) || a.data_type() != b.data_type()) {
    throw ShapeError(fmt::format("add: {} {} and {} {}", name_of(a.data_type()), a.shape().to_string(),
                                 name_of(b.data_type()), b.shape().to_string()));
  }
  Tensor sum(tape.pool(), a.shape(), a.data_type());
  dispatch(sum.data_type(),
           [&]<class T>() { add_forward(a.value().data<T>(), b.value().data<T>(), sum.elements(), sum.data<T>()); });
  const bool records = tape.records({a, b});
  Variable y = Variable::result(std::move(sum), records);
  if (records) {
    std::vector<GradientSlot> terms;
    for (const Variable& term : {a, b}) {
      if (term.requires_gradient()) terms.push_back(term.gradient_slot());
    }
    tape.record({y}, [&pool = tape.pool(), terms = std::move(terms), dy = y.gradient_slot()] {
      for (const GradientSlot& term : terms) term.add(pool, dy.tensor());
    });
  }
  return y;
}

Variable sigmoid(Tape& tape, const Variable& x) {
  const OperatorScope scope(tape, "sigmoid");
  Tensor result(tape.pool(), x.shape(), x.data_type());
  dispatch(x.data_type(),
           [&]<class T>() { sigmoid_forward(x.value().data<T>(), result.elements(), result.data<T>()); });
  const bool records = tape.records({x});
  Variable y = Variable::result(result, records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), x, y = std::move(result), dy = y.gradient_slot()] {
      Tensor dx(pool, y.shape(), dy.type());
      dispatch(y.data_type(),
               [&]<class T>() { sigmoid_backward(y.data<T>(), dy.tensor().data<T>(), y.elements(), dx.data<T>()); });
      x.add_gradient(pool, dx);
    });
  }
  return y;
}

}  // namespace palimpsest
