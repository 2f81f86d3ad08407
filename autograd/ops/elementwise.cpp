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

}  // namespace palimpsest
