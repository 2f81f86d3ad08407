#include "core/kernels/cross_entropy.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/data_type.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

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
                                            double upstream, double* nll, G* gradient) {
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
    G* const out = gradient + i * columns;
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
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < columns; ++j) {
      row[j] = vector_exp(row[j] - maximum);
      sum += row[j];
    }
    nll[i] = std::log(static_cast<double>(sum)) + (static_cast<double>(maximum) - static_cast<double>(target));
    const A scale = static_cast<A>(upstream * static_cast<double>(weights[index]));
    const A factor = scale / sum;
    const A at_target = row[targets[index]] * factor - scale;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) out[j] = static_cast<G>(row[j] * factor);
    out[targets[index]] = static_cast<G>(at_target);
  }
  return right;
}

template void cross_entropy_forward(const float*, std::int64_t, std::span<const std::int32_t>, double*);
template void cross_entropy_forward(const double*, std::int64_t, std::span<const std::int32_t>, double*);
template std::int64_t cross_entropy_forward_backward(float*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     float*);
template std::int64_t cross_entropy_forward_backward(float*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     bfloat16*);
template std::int64_t cross_entropy_forward_backward(double*, std::int64_t, const CrossEntropyRows&, double, double*,
                                                     double*);

}  // namespace palimpsest
