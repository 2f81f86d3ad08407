#include "autograd/ops/low_rank.h"

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/matmul.h"

namespace palimpsest {

namespace {

Shape checked_shape(const Variable& x, const Variable& weight, const LowRankChange& change, const Variable& residual) {
  const auto is = [&](const Variable& v, std::int64_t rows, std::int64_t columns) {
    return v.data_type() == x.data_type() && v.shape() == Shape{rows, columns};
  };
  const std::int64_t in = x.shape().rank() > 0 ? x.shape()[-1] : 0;
  const std::int64_t out = weight.shape().rank() > 0 ? weight.shape()[0] : 0;
  const std::int64_t rank = change.down.shape().rank() > 0 ? change.down.shape()[0] : 0;
  if (!is(weight, out, in) || !is(change.down, rank, in) || !is(change.up, out, rank)) {
    throw ShapeError(
        fmt::format("low_rank_linear: x {} {}, weight {} {}, down {} {} and up {} {}; expected (..., in), (out, in), "
                    "(rank, in) and "
                    "(out, rank) of one type",
                    name_of(x.data_type()), x.shape().to_string(), name_of(weight.data_type()),
                    weight.shape().to_string(), name_of(change.down.data_type()), change.down.shape().to_string(),
                    name_of(change.up.data_type()), change.up.shape().to_string()));
  }
  std::vector<std::int64_t> extents(x.shape().extents().begin(), x.shape().extents().end());
  extents.back() = out;
  const Shape shape(extents);
  if (residual.defined() && (!(residual.shape() == shape) || residual.data_type() != x.data_type())) {
    throw ShapeError(fmt::format("low_rank_linear: the residual is {} {}, the product {} {}",
                                 name_of(residual.data_type()), residual.shape().to_string(), name_of(x.data_type()),
                                 shape.to_string()));
  }
  return shape;
}

/// scale a b, (rows, rank).
Tensor scaled_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, double scale, DataType type) {
  Tensor product(pool, Shape{a.rows, b.columns}, type);
  matmul(pool, a, b, matrix_of(product));
  dispatch(type, [&]<class T>() {
    for (T& value : product.values<T>()) {
      value = static_cast<T>(static_cast<accumulate_t<T>>(value) * static_cast<accumulate_t<T>>(scale));
    }
  });
  return product;
}

void accumulate_product(MemoryPool& pool, const GradientSlot& slot, const ConstMatrix& a, const ConstMatrix& b) {
  auto [gradient, accumulate] = slot.target(pool);
  matmul(pool, a, b, matrix_of(gradient), accumulate ? Output::accumulate : Output::overwrite);
}

/// What backward needs: of the change its narrow product, scale x A^T.
struct LowRankBackward {
  MemoryPool& pool;
  Variable x, weight;
  LowRankChange change;
  Tensor narrow;
  std::optional<GradientSlot> d_residual;  // where it wants one
  GradientSlot dy;
  std::shared_ptr<DeferredGradients> deferred;

  void later(std::function<void()> weight_gradient) const {
    if (deferred) {
      deferred->add("linear", std::move(weight_gradient));
    } else {
      weight_gradient();
    }
  }

  // dW += dy^T x;  dB += dy^T (scale x A^T);  with n = scale dy B: dA += n^T x, dx += dy W + n A.
  void operator()() {
    const Tensor d_product = dy.tensor();
    const bool goes_on = x.requires_gradient();
    const Tensor d_narrow =
        change.down.requires_gradient() || goes_on
            ? scaled_product(pool, matrix_of(d_product), matrix_of(change.up.value()), change.scale, x.data_type())
            : Tensor();
    if (goes_on) {
      accumulate_product(pool, x.gradient_slot(), matrix_of(d_product), matrix_of(weight.value()));
      accumulate_product(pool, x.gradient_slot(), matrix_of(d_narrow), matrix_of(change.down.value()));
    }
    const auto owe = [&](const Variable& matrix, const Tensor& rows, const Tensor& columns) {
      if (!matrix.requires_gradient()) return;
      later([&pool = pool, slot = matrix.gradient_slot(), rows, columns] {
        accumulate_product(pool, slot, matrix_of(rows).transposed(), matrix_of(columns));
      });
    };
    if (weight.requires_gradient() || change.down.requires_gradient()) {
      owe(weight, d_product, x.value());
      owe(change.down, d_narrow, x.value());
    }
    owe(change.up, d_product, narrow);
    if (d_residual) d_residual->add(pool, d_product);
  }
};

}  // namespace

Variable low_rank_linear(Tape& tape, const Variable& x, const Variable& weight, const LowRankChange& change,
                         const Variable& residual, const std::shared_ptr<DeferredGradients>& deferred) {
  const OperatorScope scope(tape, "linear");
  const Shape shape = checked_shape(x, weight, change, residual);
  Tensor sum = residual.defined() ? converted(tape.pool(), residual.value(), residual.data_type())
                                  : Tensor(tape.pool(), shape, x.data_type());
  const ConstMatrix rows = matrix_of(x.value());
  matmul(tape.pool(), rows, matrix_of(weight.value()).transposed(), matrix_of(sum),
         residual.defined() ? Output::accumulate : Output::overwrite);
  Tensor narrow =
      scaled_product(tape.pool(), rows, matrix_of(change.down.value()).transposed(), change.scale, x.data_type());
  matmul(tape.pool(), matrix_of(std::as_const(narrow)), matrix_of(change.up.value()).transposed(), matrix_of(sum),
         Output::accumulate);
  const bool records = tape.records({x, weight, change.down, change.up, residual});
  Variable y = Variable::result(std::move(sum), records);
  if (records) {
    tape.record({y},
                LowRankBackward{
                    .pool = tape.pool(),
                    .x = x,
                    .weight = weight,
                    .change = change,
                    .narrow = std::move(narrow),
                    .d_residual = residual.requires_gradient() ? std::optional(residual.gradient_slot()) : std::nullopt,
                    .dy = y.gradient_slot(),
                    .deferred = deferred});
  }
  return y;
}

}  // namespace palimpsest
