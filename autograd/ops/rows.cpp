#include "autograd/ops/rows.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// Rows [begin, begin + count) of a lane of (lanes, rows, width).
Tensor lane_rows(const Tensor& x, std::int64_t lane, std::int64_t begin, std::int64_t count) {
  const std::int64_t rows = x.shape()[1];
  return x.reshaped(Shape{x.shape()[0] * rows, x.shape()[2]}).rows(lane * rows + begin, lane * rows + begin + count);
}

}  // namespace

void copy_rows(const Tensor& source, std::int64_t source_begin, std::int64_t count, Tensor& target,
               std::int64_t target_begin) {
  for (std::int64_t lane = 0; lane < target.shape()[0] && count > 0; ++lane) {
    Tensor to = lane_rows(target, lane, target_begin, count);
    copy(lane_rows(source, lane, source_begin, count), to);
  }
}

namespace {

/// Row `row` of every lane <- 0.
void zero_row(Tensor& x, std::int64_t row) {
  for (std::int64_t lane = 0; lane < x.shape()[0]; ++lane) {
    Tensor zero = lane_rows(x, lane, row, 1);
    fill(zero, 0.0);
  }
}

/// The input's gradient gains rows [begin, begin + rows of the input) of `gradient`.
void add_rows_to(MemoryPool& pool, const GradientSlot& input, const Tensor& gradient, std::int64_t begin) {
  if (input.shape().elements() == 0) return;
  Tensor part(pool, input.shape(), input.type());
  copy_rows(gradient, begin, input.shape()[1], part, 0);
  input.add(pool, part);
}

}  // namespace

Variable append_rows(Tape& tape, const Variable& first, const Variable& second) {
  const OperatorScope scope(tape, "rows");
  const Shape &a = first.shape(), &b = second.shape();
  if (a.rank() != 3 || b.rank() != 3 || a[0] != b[0] || a[2] != b[2]) {
    throw ShapeError(fmt::format("append_rows: {} {} and {} {}", name_of(first.data_type()), a.to_string(),
                                 name_of(second.data_type()), b.to_string()));
  }
  if (a[1] == 0) return second;
  const std::int64_t before = a[1];
  Tensor all(tape.pool(), Shape{a[0], before + b[1], a[2]}, second.data_type());
  copy_rows(first.value(), 0, before, all, 0);
  copy_rows(second.value(), 0, b[1], all, before);
  const bool records = tape.records({first, second});
  Variable y = Variable::result(std::move(all), records);
  if (records) {
    std::vector<std::pair<GradientSlot, std::int64_t>> parts;
    if (first.requires_gradient()) parts.emplace_back(first.gradient_slot(), 0);
    if (second.requires_gradient()) parts.emplace_back(second.gradient_slot(), before);
    tape.record({y}, [&pool = tape.pool(), parts = std::move(parts), dy = y.gradient_slot()] {
      for (const auto& [part, begin] : parts) add_rows_to(pool, part, dy.tensor(), begin);
    });
  }
  return y;
}

Variable last_rows(Tape& tape, const Variable& x, std::int64_t count) {
  return last_rows(tape, x, count, x.data_type());
}

Variable last_rows(Tape& tape, const Variable& x, std::int64_t count, DataType type) {
  const OperatorScope scope(tape, "rows");
  if (x.shape().rank() != 3 || count < 0 || count > x.shape()[1]) {
    throw ShapeError(fmt::format("last_rows: the last {} rows of {}", count, x.shape().to_string()));
  }
  if (count == x.shape()[1] && type == x.data_type()) return x;
  const std::int64_t begin = x.shape()[1] - count;
  Tensor rows(tape.pool(), Shape{x.shape()[0], count, x.shape()[2]}, type);
  copy_rows(x.value(), begin, count, rows, 0);
  const bool records = tape.records({x});
  Variable y = Variable::result(std::move(rows), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), dx = x.gradient_slot(), begin, count, dy = y.gradient_slot()] {
      Tensor whole = Tensor::zeros(pool, dx.shape(), dx.type());
      copy_rows(dy.tensor(), 0, count, whole, begin);
      dx.add(pool, whole);
    });
  }
  return y;
}

Variable rows_before(Tape& tape, const Variable& x) {
  const OperatorScope scope(tape, "rows");
  if (x.shape().rank() != 3) throw ShapeError(fmt::format("rows_before: of {}", x.shape().to_string()));
  const std::int64_t count = x.shape()[1] - 1;
  Tensor rows(tape.pool(), x.shape(), x.data_type());
  copy_rows(x.value(), 0, count, rows, 1);
  zero_row(rows, 0);
  const bool records = tape.records({x});
  Variable y = Variable::result(std::move(rows), records);
  if (records) {
    tape.record({y}, [&pool = tape.pool(), dx = x.gradient_slot(), count, dy = y.gradient_slot()] {
      Tensor behind(pool, dx.shape(), dx.type());
      copy_rows(dy.tensor(), 1, count, behind, 0);
      zero_row(behind, count);
      dx.add(pool, behind);
    });
  }
  return y;
}

namespace {

void check_picks(const std::vector<Variable>& sources, const std::vector<RowPick>& picks, std::int64_t lanes) {
  for (const Variable& source : sources) {
    const Shape &shape = source.shape(), &first = sources.front().shape();
    if (shape[shape.rank() - 1] != first[first.rank() - 1] || source.data_type() != sources.front().data_type()) {
      throw ShapeError(fmt::format("take_rows: {} {} beside {} {}", name_of(source.data_type()), shape.to_string(),
                                   name_of(sources.front().data_type()), first.to_string()));
    }
  }
  const auto count = static_cast<std::int64_t>(picks.size());
  if (sources.empty() || lanes <= 0 || count == 0 || count % lanes != 0) {
    throw ShapeError(fmt::format("take_rows: {} rows of {} sources for {} lanes", count, sources.size(), lanes));
  }
  for (const RowPick& pick : picks) {
    if (pick.source < 0) continue;
    const auto source = static_cast<std::size_t>(pick.source);
    if (source >= sources.size() || pick.row < 0 || pick.row >= sources[source].shape().rows()) {
      throw ShapeError(fmt::format("take_rows: row {} of source {} is not there", pick.row, pick.source));
    }
  }
}

/// The gradients of the rows of source `index` gain those of where they were picked to.
template <class T, class G>
void add_picked(const T* dy, const std::vector<RowPick>& picks, std::int64_t index, std::int64_t width, G* target) {
  for (std::size_t i = 0; i < picks.size(); ++i) {
    if (picks[i].source != index) continue;
    const T* const from = dy + static_cast<std::int64_t>(i) * width;
    G* const to = target + picks[i].row * width;
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j) {
      to[j] = static_cast<G>(static_cast<accumulate_t<T>>(to[j]) + static_cast<accumulate_t<T>>(from[j]));
    }
  }
}

}  // namespace

Variable take_rows(Tape& tape, std::vector<Variable> sources, std::vector<RowPick> picks, std::int64_t lanes) {
  const OperatorScope scope(tape, "rows");
  check_picks(sources, picks, lanes);
  const Shape& first = sources.front().shape();
  const std::int64_t width = first[first.rank() - 1], rows = static_cast<std::int64_t>(picks.size()) / lanes;
  Tensor taken(tape.pool(), Shape{lanes, rows, width}, sources.front().data_type());
  dispatch(taken.data_type(), [&]<class T>() {
    T* to = taken.data<T>();
    for (const RowPick& pick : picks) {
      if (pick.source < 0) {
        std::fill_n(to, width, T(0));
      } else {
        const Variable& source = sources[static_cast<std::size_t>(pick.source)];
        std::copy_n(source.value().data<T>() + pick.row * width, width, to);
      }
      to += width;
    }
  });
  std::vector<std::pair<GradientSlot, std::int64_t>> wanted;
  bool records = false;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!tape.records({sources[i]})) continue;
    records = true;
    wanted.emplace_back(sources[i].gradient_slot(), static_cast<std::int64_t>(i));
  }
  Variable y = Variable::result(std::move(taken), records);
  if (!records) return y;
  tape.record(
      {y}, [&pool = tape.pool(), wanted = std::move(wanted), picks = std::move(picks), width, dy = y.gradient_slot()] {
        for (const auto& source : wanted) {
          const GradientSlot& slot = source.first;
          const std::int64_t index = source.second;
          auto target = slot.target(pool);
          if (!target.accumulate) fill(target.view, 0.0);
          dispatch(dy.type(), [&]<class T>() {
            dispatch(slot.type(), [&]<class G>() {
              add_picked(dy.tensor().data<T>(), picks, index, width, target.view.template data<G>());
            });
          });
        }
      });
  return y;
}

}  // namespace palimpsest
