#include "core/kernels/distillation.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/data_type.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

namespace {

template <class A>
A log_sum_exp(const A* row, std::int64_t columns) {
  const A maximum = largest(row, columns);
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < columns; ++j) sum += vector_exp(row[j] - maximum);
  return maximum + std::log(sum);
}

}  // namespace

template <class A, class G>
std::int64_t distillation_forward_backward(const A* logits, const A* teacher, std::int64_t columns,
                                           const CrossEntropyRows& in, double share, double upstream, double* nll,
                                           double* divergence, G* gradient) {
  const auto rows = static_cast<std::int64_t>(in.targets.size());
  assert(in.weights.size() == in.targets.size() && (in.answers.empty() || in.answers.size() == in.targets.size()));
  assert(in.right.empty() || in.right.size() == in.targets.size());
  std::int64_t right = 0;
#pragma omp parallel for schedule(static) reduction(+ : right) if (rows * columns > 16384)
  for (std::int64_t i = 0; i < rows; ++i) {
    const A* const row = logits + i * columns;
    const A* const taught = teacher + i * columns;
    G* const out = gradient + i * columns;
    const auto index = static_cast<std::size_t>(i);
    if (!in.right.empty()) in.right[index] = 0;
    if (in.weights[index] == 0.0f) {
      nll[i] = divergence[i] = 0.0;
      for (std::int64_t j = 0; j < columns; ++j) out[j] = G(A{0});
      continue;
    }
    const std::int32_t target = in.targets[index];
    assert(target >= 0 && target < columns);
    if (!in.answers.empty() && in.answers[index] != 0) {
      const bool likeliest = std::max_element(row, row + columns) == row + target;
      right += likeliest;
      if (!in.right.empty()) in.right[index] = likeliest;
    }
    const A normalizer = log_sum_exp(row, columns), of_teacher = log_sum_exp(taught, columns);
    const A scale = static_cast<A>(upstream * static_cast<double>(in.weights[index]));
    const A taught_scale = scale * static_cast<A>(share);
    const A log_of_target = row[target] - normalizer;
    const A at_target = scale * (vector_exp(log_of_target) - static_cast<A>(1 - share)) -
                        taught_scale * vector_exp(taught[target] - of_teacher);
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < columns; ++j) {
      const A log_p = row[j] - normalizer, log_q = taught[j] - of_teacher, q = vector_exp(log_q);
      sum += q * (log_q - log_p);
      out[j] = static_cast<G>(scale * vector_exp(log_p) - taught_scale * q);
    }
    out[target] = static_cast<G>(at_target);
    nll[i] = -static_cast<double>(log_of_target);
    divergence[i] = static_cast<double>(sum);
  }
  return right;
}

template std::int64_t distillation_forward_backward(const float*, const float*, std::int64_t, const CrossEntropyRows&,
                                                    double, double, double*, double*, float*);
template std::int64_t distillation_forward_backward(const float*, const float*, std::int64_t, const CrossEntropyRows&,
                                                    double, double, double*, double*, bfloat16*);
template std::int64_t distillation_forward_backward(const double*, const double*, std::int64_t, const CrossEntropyRows&,
                                                    double, double, double*, double*, double*);

}  // namespace palimpsest
