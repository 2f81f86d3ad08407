#include "autograd/ops/bias.h"

#include <utility>

#include <fmt/format.h>

#include "core/kernels/bias.h"

namespace palimpsest {

Variable add_bias(Tape& tape, const Variable& x, const Variable& bias) {
  const OperatorScope scope(tape, "bias");
  const DataType accumulated = accumulate_type(x.data_type());
  if (x.shape().rank() < 1 || bias.shape().rank() != 1 || bias.shape()[0] != x.shape()[-1] ||
      bias.data_type() != accumulated) {
    throw ShapeError(fmt::format("add_bias: x {} {} and bias {} {}; expected (..., columns) and {} (columns)",
                                 name_of(x.data_type()), x.shape().to_string(), name_of(bias.data_type()),
                                 bias.shape().to_string(), name_of(accumulated)));
  }
  const std::int64_t rows = x.shape().rows(), columns = x.shape()[-1];
  Tensor sum(tape.pool(), x.shape(), x.data_type());
  dispatch(x.data_type(), [&]<class T>() {
    add_bias_forward<T>(x.value().data<T>(), bias.value().data<accumulate_t<T>>(), rows, columns, sum.data<T>());
  });
  const bool records = tape.records({x, bias});
  Variable y = Variable::result(std::move(sum), records);
  if (records) {
    const bool continues = x.requires_gradient(), learns = bias.requires_gradient();
    tape.record({y}, [&pool = tape.pool(), continues, learns, dx = x.gradient_slot(), db = bias.gradient_slot(),
                      dy = y.gradient_slot(), rows, columns] {
      if (continues) dx.add(pool, dy.tensor());
      if (!learns) return;
      Gradient<Tensor> gradient = db.target(pool);
      dispatch(dy.tensor().data_type(), [&]<class T>() {
        using A = accumulate_t<T>;
        Tensor scratch(pool, {add_bias_blocks(rows), columns}, data_type_of<A>);
        add_bias_backward<T>(dy.tensor().data<T>(), rows, columns, {gradient.view.data<A>(), gradient.accumulate},
                             scratch.data<A>());
      });
    });
  }
  return y;
}

}  // namespace palimpsest
