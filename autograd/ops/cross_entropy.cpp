#include "autograd/ops/cross_entropy.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "core/kernels/cross_entropy.h"
#include "core/kernels/distillation.h"
#include "core/matmul.h"

namespace palimpsest {

namespace {

void check(const Tensor& hidden, const Tensor& weight, std::span<const std::int32_t> targets) {
  if (hidden.shape().rank() < 1 || weight.shape().rank() != 2 || hidden.shape()[-1] != weight.shape()[1] ||
      hidden.data_type() != weight.data_type()) {
    throw ShapeError(
        fmt::format("cross entropy: hidden {} {} and weight {} {}; expected (..., in) and (vocab, in) of one type",
                    name_of(hidden.data_type()), hidden.shape().to_string(), name_of(weight.data_type()),
                    weight.shape().to_string()));
  }
  if (static_cast<std::int64_t>(targets.size()) != hidden.shape().rows()) {
    throw ShapeError(fmt::format("cross entropy: {} targets for {} rows", targets.size(), hidden.shape().rows()));
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0 || targets[i] >= weight.shape()[0]) {
      throw ShapeError(fmt::format("cross entropy: target {} of row {} is outside the vocabulary of {}", targets[i], i,
                                   weight.shape()[0]));
    }
  }
}

/// A run of rows of a matrix.
ConstMatrix rows_of(ConstMatrix matrix, std::int64_t begin, std::int64_t count) {
  matrix.data = static_cast<const std::byte*>(matrix.data) +
                static_cast<std::size_t>(begin * matrix.row_stride) * size_of(matrix.type);
  matrix.rows = count;
  return matrix;
}
Matrix rows_of(Matrix matrix, std::int64_t begin, std::int64_t count) {
  matrix.data =
      static_cast<std::byte*>(matrix.data) + static_cast<std::size_t>(begin * matrix.row_stride) * size_of(matrix.type);
  matrix.rows = count;
  return matrix;
}

bool all_zero(std::span<const float> weights) {
  return std::ranges::all_of(weights, [](float weight) { return weight == 0.0f; });
}

std::int64_t answers_of(const CrossEntropyRows& rows) {
  std::int64_t answers = 0;
  for (std::size_t i = 0; i < rows.answers.size(); ++i) answers += rows.answers[i] != 0 && rows.weights[i] != 0.0f;
  return answers;
}

/// In order of rows, whatever the thread count.
double weighted_sum(std::span<const float> weights, std::span<const double> nll) {
  double sum = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] != 0.0f) sum += static_cast<double>(weights[i]) * nll[i];
  }
  return sum;
}

/// Adds rows [offset, ...) to the totals of their sources, in their order.
void add_to_totals(const LossTargets& wanted, std::size_t offset, std::size_t rows, std::span<const double> nll,
                   std::span<const std::uint8_t> right) {
  for (std::size_t i = 0; i < rows; ++i) {
    const double weight = static_cast<double>(wanted.weights[offset + i]);
    if (weight == 0) continue;
    SourceTotals& totals = wanted.totals->at(wanted.sources[offset + i]);
    totals.loss += weight * nll[i];
    totals.weight += weight;
    if (wanted.answers.empty() || wanted.answers[offset + i] == 0) continue;
    ++totals.answers.all;
    totals.answers.right += right[i];
  }
}

/// Logits and divergences of a block of the teacher's rows.
template <class A>
struct TeacherBlock {
  TeacherBlock(MemoryPool& pool, const TeacherRows* of, std::int64_t most_rows, std::int64_t vocab) : teacher(of) {
    if (teacher == nullptr) return;
    logits = Tensor(pool, {most_rows, vocab}, data_type_of<A>);
    divergence.resize(static_cast<std::size_t>(most_rows));
  }

  /// Returns how many of the rows' answers are right; nll and gradient as cross_entropy_forward_backward has them.
  template <class G>
  std::int64_t forward_backward(MemoryPool& pool, std::int64_t begin, const A* of_model, const CrossEntropyRows& rows,
                                double upstream, double* nll, G* gradient, DistillationTotals* totals) {
    const auto count = static_cast<std::int64_t>(rows.targets.size());
    const std::int64_t vocab = logits.shape()[1];
    matmul(pool, rows_of(matrix_of(teacher->hidden), begin, count), matrix_of(teacher->weight).transposed(),
           matrix(logits.template data<A>(), count, vocab, vocab));
    const std::int64_t right =
        distillation_forward_backward(of_model, std::as_const(logits).template data<A>(), vocab, rows, teacher->share,
                                      upstream, nll, divergence.data(), gradient);
    mixed = weighted_sum(rows.weights, divergence);
    const double loss = weighted_sum(rows.weights, std::span(nll, rows.targets.size()));
    if (totals) {
      totals->divergence += mixed;
      totals->loss += loss;
    }
    mixed = teacher->share * mixed + (1 - teacher->share) * loss;
    return right;
  }

  const TeacherRows* teacher;
  Tensor logits;
  std::vector<double> divergence;
  double mixed = 0;  // the last block's weighted sum of losses
};

void check_teacher(const TeacherRows& teacher, const Tensor& hidden, const Tensor& weight) {
  const Shape &rows = teacher.hidden.shape(), &head = teacher.weight.shape();
  const DataType type = hidden.data_type();
  if (rows.rank() >= 1 && head.rank() == 2 && rows.rows() == hidden.shape().rows() && rows[-1] == head[1] &&
      head[0] == weight.shape()[0] && teacher.hidden.data_type() == type && teacher.weight.data_type() == type) {
    return;
  }
  throw ShapeError(
      fmt::format("cross entropy: the teacher's hidden {} {} and weight {} {}; expected ({}, in) and "
                  "({}, in) in {}",
                  name_of(teacher.hidden.data_type()), rows.to_string(), name_of(teacher.weight.data_type()),
                  head.to_string(), hidden.shape().rows(), weight.shape()[0], name_of(type)));
}

/// The nll of every row.
template <class T>
std::vector<double> forward(MemoryPool& pool, const Tensor& hidden, const Tensor& weight,
                            std::span<const std::int32_t> targets) {
  using A = accumulate_t<T>;
  const std::int64_t rows = hidden.shape().rows(), vocab = weight.shape()[0];
  const std::int64_t most_rows = std::min(rows, head_block_rows(vocab));
  Tensor logits(pool, {most_rows, vocab}, data_type_of<A>);
  std::vector<double> nll(targets.size());
  for (std::int64_t begin = 0; begin < rows; begin += most_rows) {
    const std::int64_t count = std::min(most_rows, rows - begin);
    matmul(pool, rows_of(matrix_of(hidden), begin, count), matrix_of(weight).transposed(),
           matrix(logits.data<A>(), count, vocab, vocab));
    cross_entropy_forward(std::as_const(logits).data<A>(), vocab,
                          targets.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
                          nll.data() + begin);
  }
  return nll;
}

/// How far apart rows of dlogits in a buffer of their own stand, in elements: an odd number of a cache's lines, since
/// rows at a multiple of a large power of two, as vocabularies like to be, meet in the same sets of it.
template <class T>
std::int64_t spread_rows(std::int64_t vocab) {
  constexpr auto line = static_cast<std::int64_t>(64 / sizeof(T));
  return ((vocab + line - 1) / line | 1) * line;
}

/// The weighted sum of nll; adds its gradients, times `upstream`, to those of hidden and weight.
template <class T>
double forward_backward(MemoryPool& pool, const Variable& hidden, const Variable& weight, const LossTargets& wanted,
                        double upstream) {
  using A = accumulate_t<T>;
  const ConstMatrix x = matrix_of(hidden.value()), w = matrix_of(weight.value());
  const std::int64_t most_rows = std::min(x.rows, head_block_rows(w.rows));
  Tensor logits(pool, {most_rows, w.rows}, data_type_of<A>);
  const std::int64_t stride = std::is_same_v<T, A> || wanted.teacher ? w.rows : spread_rows<T>(w.rows);
  Tensor dlogits = std::is_same_v<T, A> ? logits : Tensor(pool, {most_rows, stride}, data_type_of<T>);
  std::vector<double> nll(static_cast<std::size_t>(most_rows));
  const bool by_source = wanted.totals && !wanted.sources.empty();
  std::vector<std::uint8_t> right_rows(by_source ? static_cast<std::size_t>(most_rows) : 0);
  TeacherBlock<A> teacher(pool, wanted.teacher.get(), most_rows, w.rows);

  Gradient<Tensor> dx = hidden.wanted_gradient(pool), dw = weight.wanted_gradient(pool);
  const Output dx_output = dx.accumulate ? Output::accumulate : Output::overwrite;
  Output dw_output = dw.accumulate ? Output::accumulate : Output::overwrite;

  double loss = 0.0;
  for (std::int64_t begin = 0; begin < x.rows; begin += most_rows) {
    const std::int64_t count = std::min(most_rows, x.rows - begin);
    const auto offset = static_cast<std::size_t>(begin), extent = static_cast<std::size_t>(count);
    CrossEntropyRows rows{std::span(wanted.targets).subspan(offset, extent),
                          std::span(wanted.weights).subspan(offset, extent)};
    if (!wanted.answers.empty()) rows.answers = std::span(wanted.answers).subspan(offset, extent);
    if (by_source) rows.right = std::span(right_rows).first(extent);
    const ConstMatrix block = rows_of(x, begin, count);
    if (all_zero(rows.weights)) {
      if (dx.wanted() && !dx.accumulate) {
        Tensor unused = dx.view.reshaped({x.rows, x.columns}).rows(begin, begin + count);
        fill(unused, 0.0);
      }
      continue;
    }
    matmul(pool, block, w.transposed(), matrix(logits.data<A>(), count, w.rows, w.rows));
    const std::int64_t right =
        wanted.teacher ? teacher.forward_backward(pool, begin, std::as_const(logits).data<A>(), rows, upstream,
                                                  nll.data(), dlogits.data<T>(), wanted.distilled.get())
                       : cross_entropy_forward_backward(logits.data<A>(), w.rows, rows, upstream, nll.data(),
                                                        dlogits.data<T>(), stride);
    loss += wanted.teacher ? teacher.mixed : weighted_sum(rows.weights, nll);
    if (wanted.counts && !rows.answers.empty()) {
      wanted.counts->right += right;
      wanted.counts->all += answers_of(rows);
    }
    if (by_source) add_to_totals(wanted, offset, extent, nll, right_rows);
    const ConstMatrix gradient = matrix(dlogits.data<T>(), count, w.rows, stride);
    if (dx.wanted()) matmul(pool, gradient, w, rows_of(matrix_of(dx.view), begin, count), dx_output);
    if (dw.wanted()) {
      matmul(pool, gradient.transposed(), block, matrix_of(dw.view), std::exchange(dw_output, Output::accumulate));
    }
  }
  if (dw.wanted() && dw_output == Output::overwrite) fill(dw.view, 0.0);
  return loss;
}

}  // namespace

std::int64_t head_block_rows(std::int64_t vocab) {
  constexpr std::int64_t most_logits = std::int64_t{32} << 20;
  return std::clamp<std::int64_t>(most_logits / std::max<std::int64_t>(vocab, 1), 64, 512);
}

Variable linear_cross_entropy(Tape& tape, const Variable& hidden, const Variable& weight, LossTargets wanted) {
  const OperatorScope scope(tape, "head and loss");
  check(hidden.value(), weight.value(), wanted.targets);
  const std::size_t rows = wanted.targets.size();
  if (wanted.weights.size() != rows || (!wanted.answers.empty() && wanted.answers.size() != rows) ||
      (!wanted.sources.empty() && wanted.sources.size() != rows)) {
    throw ShapeError(fmt::format("cross entropy: {} loss weights, {} marks of answers and {} of sources for {} rows",
                                 wanted.weights.size(), wanted.answers.size(), wanted.sources.size(), rows));
  }
  if (wanted.teacher) check_teacher(*wanted.teacher, hidden.value(), weight.value());
  Tensor loss(tape.pool(), Shape{}, DataType::float64);
  fill(loss, std::numeric_limits<double>::quiet_NaN());
  const bool records = tape.records({hidden, weight});
  Variable y = Variable::result(loss, records);
  if (records) {
    tape.record(
        {y}, [&pool = tape.pool(), hidden, weight, wanted = std::move(wanted), dy = y.gradient_slot(), loss]() mutable {
          const double upstream = dy.tensor().data<double>()[0];
          loss.data<double>()[0] = dispatch(hidden.data_type(), [&]<class T>() {
            return forward_backward<T>(pool, hidden, weight, wanted, upstream);
          });
        });
  } else if (wanted.teacher) {
    fill(loss, dispatch(hidden.data_type(),
                        [&]<class T>() { return forward_backward<T>(tape.pool(), hidden, weight, wanted, 0.0); }));
  } else {
    fill(loss, weighted_sum(wanted.weights, token_losses(tape.pool(), hidden.value(), weight.value(), wanted.targets)));
  }
  return y;
}

std::vector<double> token_losses(MemoryPool& pool, const Tensor& hidden, const Tensor& weight,
                                 std::span<const std::int32_t> targets) {
  check(hidden, weight, targets);
  return dispatch(hidden.data_type(), [&]<class T>() { return forward<T>(pool, hidden, weight, targets); });
}

}  // namespace palimpsest
