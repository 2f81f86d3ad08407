// The divergence of rows of logits from a teacher's, mixed with their cross-entropy. A: float, double; results in
// double.
//   p = softmax(l), q = softmax(teacher's l)
//   nll = -log p[target],  divergence = sum_j q[j] (log q[j] - log p[j])
//   dl = upstream weight (p - share q - (1 - share) [j = target]), of (1 - share) nll + share divergence
#pragma once

#include <cstdint>

#include "core/kernels/cross_entropy.h"

namespace palimpsest {

/// logits, teacher (rows, columns) -> nll, divergence (rows), and the gradient of upstream * sum(weights * loss) with
/// respect to the logits, in G: A itself or bfloat16. A row of weight 0 has nothing but zeros, whatever its logits.
/// `gradient` may be `logits`. `rows` as for cross_entropy_forward_backward, whose result this returns.
template <class A, class G>
std::int64_t distillation_forward_backward(const A* logits, const A* teacher, std::int64_t columns,
                                           const CrossEntropyRows& rows, double share, double upstream, double* nll,
                                           double* divergence, G* gradient);

}  // namespace palimpsest
