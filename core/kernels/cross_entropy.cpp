#include "core/kernels/cross_entropy.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <type_traits>

#include "core/data_type.h"
#include "core/kernels/vector_loops.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

/// row <- e^(row - maximum) as exactly as a gradient of type G asks for; returns the sum.
template <class G, class A>
A exponentials(A* row, std::int64_t columns, A maximum) {
  A sum = 0;
  std::int64_t begin = 0;
  if constexpr (!std::is_same_v<G, A>) {
    using namespace vector_loops;
    Lanes<G> sums{};
    begin = columns / lanes<G> * lanes<G>;
    for_each_vector<G>(begin, [&](std::int64_t j, auto elements) {
      const Lanes<G> power = exponential<G>(elements.load(row + j) - maximum);
      elements.store(row + j, power);
      sums += power;
    });
    sum = sum_of<G>(sums);
  }
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = begin; j < columns; ++j) {
    row[j] = vector_exp(row[j] - maximum);
    sum += row[j];
  }
  return sum;
}

}  // namespace

template <class A>
void cross_entropy_forward(const A* logits, std::int64_t columns, std::span<const std::int32_t> targets, double* nll) {
  const auto rows = static_cast<std::int64_t>(targets.size());
#pragma omp parallel for schedule(static) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    const A* const row = logits + i * columns;
    const A maximum = largest(row, columns);
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < columns; ++j) sum += vector_exp(row[j] - maximum);
    assert(targets[static_cast<std::size_t>(i)] >= 0 && targets[static_cast<std::size_t>(i)] < columns);
    const A target = row[targets[static_cast<std::size_t>(i)]];
    nll[i] = std::log(static_cast<double>(sum)) + (static_cast<double>(maximum) - static_cast<double>(target));
  }
}

template <class A, class G>
std::int64_t cross_entropy_forward_backward(A* logits, std::int64_t columns, const CrossEntropyRows& in,
                                            double upstream, double* nll, G* gradient, std::int64_t gradient_stride) {
  const std::int64_t stride = gradient_stride == 0 ? columns : gradient_stride;
  const auto targets = in.targets;
  const auto weights = in.weights;
  const auto answers = in.answers;
  const auto rows = static_cast<std::int64_t>(targets.size());
  assert(weights.size() == targets.size() && (answers.empty() || answers.size() == targets.size()));
  assert(in.right.empty() || in.right.size() == targets.size());
  std::int64_t right = 0;
#pragma omp parallel for schedule(static) reduction(+ : right) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    A* const row = logits + i * columns;
    G* const out = gradient + i * stride;
    const auto index = static_cast<std::size_t>(i);
    if (!in.right.empty()) in.right[index] = 0;
    if (weights[index] == 0.0f) {
      nll[i] = 0.0;
      for (std::int64_t j = 0; j < columns; ++j) out[j] = G(A{0});
      continue;
    }
    const A maximum = largest(row, columns);
    assert(targets[index] >= 0 && targets[index] < columns);
    const A target = row[targets[index]];
    if (!answers.empty() && answers[index] != 0) {
      const bool likeliest = target == maximum && std::find(row, row + targets[index], maximum) == row + targets[index];
      right += likeliest;
      if (!in.right.empty()) in.right[index] = likeliest;
    }
    const A sum = exponentials<G>(row, columns, maximum);
    // The powers of bfloat16 at the maximum are a little less than 1; NaN stays.
    nll[i] = std::max(std::log(static_cast<double>(sum)) + (static_cast<double>(maximum) - static_cast<double>(target)),
                      0.0);
    const A share = static_cast<A>(upstream * static_cast<double>(weights[index]));
    const A factor = share / sum;
    const A at_target = row[targets[index]] * factor - share;
    vector_loops::scale(out, factor, row, columns);
    out[targets[index]] = static_cast<G>(at_target);
  }
  return right;
}

template void cross_entropy_forward(const float*, std::int64_t, std::span<const std::int32_t>, double*);
template void cross_entropy_forward(const double*, std::int64_t, std::span<const std::int32_t>, double*);
template std::int64_t cross_entropy_forward_backward(float*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     float*, std::int64_t);
template std::int64_t cross_entropy_forward_backward(float*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     bfloat16*, std::int64_t);
template std::int64_t cross_entropy_forward_backward(double*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     double*, std::int64_t);

}  // namespace palimpsest
