// Cross-entropy of rows of logits. A: float, double; results in double.
//   nll = log(sum_j exp(l[j])) - l[target];   dl[j] = upstream weight (exp(l[j]) / sum_k exp(l[k]) - [j = target])
#pragma once

#include <cstdint>
#include <span>

namespace palimpsest {

/// logits (rows, columns) -> nll (rows). One target below `columns` a row.
template <class A>
void cross_entropy_forward(const A* logits, std::int64_t columns, std::span<const std::int32_t> targets, double* nll);

/// The same, and the gradient of upstream * sum(weights * nll) with respect to the logits, in G: A
/// itself or bfloat16. A row of weight 0 has nll and gradient 0, whatever its logits. `gradient` may
/// be `logits`; the logits are overwritten in any case.
template <class A, class G>
void cross_entropy_forward_backward(A* logits, std::int64_t columns, std::span<const std::int32_t> targets,
                                    std::span<const float> weights, double upstream, double* nll, G* gradient);

}  // namespace palimpsest
