#include "autograd/ops/rows.h"

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// Rows [begin, begin + count) of a lane of (lanes, rows, width).
Tensor lane_rows(const Tensor& x, std::int64_t lane, std::int64_t begin, std::int64_t count) {
  const std::int64_t rows = x.shape()[1];
  return x.reshaped(Shape{x.shape()[0] * rows, x.shape()[2]}).rows(lane * rows + begin, lane * rows + begin + count);
}

void copy_rows(const Tensor& source, std::int64_t source_begin, std::int64_t count, Tensor& target,
               std::int64_t target_begin) {
  for (std::int64_t lane = 0; lane < target.shape()[0] && count > 0; ++lane) {
    Tensor to = lane_rows(target, lane, target_begin, count);
    copy(lane_rows(source, lane, source_begin, count), to);
  }
}

/// The input's gradient gains rows [begin, begin + rows of the input) of `gradient`.
void add_rows_to(MemoryPool& pool, const Variable& input, const Tensor& gradient, std::int64_t begin) {
  if (!input.requires_gradient() || input.shape().elements() == 0) return;
  Tensor part(pool, input.shape(), gradient.data_type());
  copy_rows(gradient, begin, input.shape()[1], part, 0);
  input.add_gradient(pool, part);
}

}  // namespace

Variable append_rows(Tape& tape, const Variable& first, const Variable& second) {
  const OperatorScope scope(tape, "rows");
  const Shape &a = first.shape(), &b = second.shape();
  if (a.rank() != 3 || b.rank() != 3 || a[0] != b[0] || a[2] != b[2] || first.data_type() != second.data_type()) {
    throw ShapeError(fmt::format("append_rows: {} {} and {} {}", name_of(first.data_type()), a.to_string(),
                                 name_of(second.data_type()), b.to_string()));
  }
  if (a[1] == 0) return second;
  const std::int64_t before = a[1];
  Tensor all(tape.pool(), Shape{a[0], before + b[1], a[2]}, first.data_type());
  copy_rows(first.value(), 0, before, all, 0);
  copy_rows(second.value(), 0, b[1], all, before);
  const bool records = tape.records({first, second});
  Variable y = Variable::result(std::move(all), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), first, second, before, dy = y.gradient_slot()] {
      add_rows_to(pool, first, dy.tensor(), 0);
      add_rows_to(pool, second, dy.tensor(), before);
    });
  }
  return y;
}

Variable last_rows(Tape& tape, const Variable& x, std::int64_t count) {
  const OperatorScope scope(tape, "rows");
  if (x.shape().rank() != 3 || count < 0 || count > x.shape()[1]) {
    throw ShapeError(fmt::format("last_rows: the last {} rows of {}", count, x.shape().to_string()));
  }
  if (count == x.shape()[1]) return x;
  const std::int64_t begin = x.shape()[1] - count;
  Tensor rows(tape.pool(), Shape{x.shape()[0], count, x.shape()[2]}, x.data_type());
  copy_rows(x.value(), begin, count, rows, 0);
  const bool records = tape.records({x});
  Variable y = Variable::result(std::move(rows), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), x, begin, count, dy = y.gradient_slot()] {
      Tensor whole = Tensor::zeros(pool, x.shape(), dy.type());
      copy_rows(dy.tensor(), 0, count, whole, begin);
      x.add_gradient(pool, whole);
    });
  }
  return y;
}

}  // namespace palimpsest
