// Cross-entropy of rows of logits. A: float, double; results in double.
//   nll = log(sum_j exp(l[j])) - l[target];   dl[j] = upstream weight (exp(l[j]) / sum_k exp(l[k]) - [j = target])
#pragma once

#include <cstdint>
#include <span>

namespace palimpsest {

/// logits (rows, columns) -> nll (rows). One target below `columns` a row.
template <class A>
void cross_entropy_forward(const A* logits, std::int64_t columns, std::span<const std::int32_t> targets, double* nll);

/// What rows of logits are to predict, one element a row.
struct CrossEntropyRows {
  std::span<const std::int32_t> targets;  // below `columns`
  std::span<const float> weights;
  std::span<const std::uint8_t> answers = {};  // not 0: it is asked whether the target is the likeliest; empty: never
  std::span<std::uint8_t> right = {};          // becomes 1 in the rows where it is, else 0; empty: not wanted
};

/// The same, and the gradient of upstream * sum(weights * nll) with respect to the logits, in G: A
/// itself or bfloat16. A row of weight 0 has nll and gradient 0, whatever its logits. `gradient` may
/// be `logits`; the logits are overwritten in any case. Returns in how many of the rows that are answers and have a
/// weight no logit is larger than the target's, and none before it as large. Rows of the gradient are `gradient_stride`
/// elements apart, or where it is 0 `columns`. With G bfloat16 nll is within 4e-6.
template <class A, class G>
std::int64_t cross_entropy_forward_backward(A* logits, std::int64_t columns, const CrossEntropyRows& rows,
                                            double upstream, double* nll, G* gradient,
                                            std::int64_t gradient_stride = 0);

}  // namespace palimpsest
