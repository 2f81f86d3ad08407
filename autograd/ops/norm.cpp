#include "autograd/ops/norm.h"

#include <fmt/format.h>

#include "core/kernels/norm.h"

namespace palimpsest {

namespace {

template <class T>
void rms_norm_gradients(MemoryPool& pool, const Variable& x, const Variable& weight, const Tensor& inverse_rms,
                        const Tensor& dy) {
  using A = accumulate_t<T>;
  const std::int64_t columns = weight.shape()[0], rows = x.value().elements() / columns;
  Gradient<Tensor> dx = x.wanted_gradient(pool), dw = weight.wanted_gradient(pool);
  Tensor scratch;
  if (dw.wanted()) scratch = Tensor(pool, {rms_norm_blocks(rows), columns}, data_type_of<A>);
  rms_norm_backward<T>({.x = x.value().data<T>(), .weight = weight.value().data<A>(), .rows = rows, .columns = columns},
                       {.inverse_rms = inverse_rms.data<A>(),
                        .dy = dy.data<T>(),
                        .dx = {dx.wanted() ? dx.view.data<T>() : nullptr, dx.accumulate},
                        .dweight = {dw.wanted() ? dw.view.data<A>() : nullptr, dw.accumulate},
                        .scratch = dw.wanted() ? scratch.data<A>() : nullptr});
}

Tensor normalise(MemoryPool& pool, const Variable& x, const Variable& weight, double epsilon, Tensor& inverse_rms) {
  Tensor normalised(pool, x.shape(), x.data_type());
  dispatch(x.data_type(), [&]<class T>() {
    using A = accumulate_t<T>;
    rms_norm_forward<T>({.x = x.value().data<T>(),
                         .weight = weight.value().data<A>(),
                         .rows = inverse_rms.elements(),
                         .columns = weight.shape()[0]},
                        epsilon, {.y = normalised.data<T>(), .inverse_rms = inverse_rms.data<A>()});
  });
  return normalised;
}

/// Of runs of as many elements of x as the weight has.
Variable normalise_runs(Tape& tape, const Variable& x, const Variable& weight, double epsilon) {
  Tensor inverse_rms(tape.pool(), {x.value().elements() / weight.shape()[0]}, accumulate_type(x.data_type()));
  Tensor normalised = normalise(tape.pool(), x, weight, epsilon, inverse_rms);
  const bool records = tape.records({x, weight});
  Variable y = Variable::result(std::move(normalised), records);
  if (records) {
    y.set_rebuild([&pool = tape.pool(), x, weight, inverse_rms, epsilon] {
      Tensor again = inverse_rms;  // overwritten with the same values
      return normalise(pool, x, weight, epsilon, again);
    });
    tape.record({y}, [&pool = tape.pool(), x, weight, inverse_rms, dy = y.gradient_slot()] {
      dispatch(x.data_type(), [&]<class T>() { rms_norm_gradients<T>(pool, x, weight, inverse_rms, dy.tensor()); });
    });
  }
  return y;
}

void require(bool fits, const char* operation, const char* expected, const Variable& x, const Variable& weight) {
  const DataType accumulated = accumulate_type(x.data_type());
  if (fits && weight.data_type() == accumulated) return;
  throw ShapeError(fmt::format("{}: x {} {} and weight {} {}; expected {} and {} (columns)", operation,
                               name_of(x.data_type()), x.shape().to_string(), name_of(weight.data_type()),
                               weight.shape().to_string(), expected, name_of(accumulated)));
}

}  // namespace

Variable rms_norm(Tape& tape, const Variable& x, const Variable& weight, double epsilon) {
  const OperatorScope scope(tape, "norm");
  const bool fits = x.shape().rank() >= 1 && weight.shape().rank() == 1 && weight.shape()[0] == x.shape()[-1];
  require(fits, "rms_norm", "(..., columns)", x, weight);
  return normalise_runs(tape, x, weight, epsilon);
}

Variable head_rms_norm(Tape& tape, const Variable& x, const Variable& weight, double epsilon) {
  const OperatorScope scope(tape, "norm");
  const bool fits = x.shape().rank() >= 1 && weight.shape().rank() == 1 && weight.shape()[0] > 0 &&
                    x.shape()[-1] % weight.shape()[0] == 0;
  require(fits, "head_rms_norm", "(..., heads * columns)", x, weight);
  return normalise_runs(tape, x, weight, epsilon);
}

}  // namespace palimpsest
