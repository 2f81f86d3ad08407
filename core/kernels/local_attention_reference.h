// Local attention as its formulas say it (core/kernels/local_attention.h), query by query in float64: what to read
// first, and what tests compare with.
#pragma once

#include "core/kernels/local_attention.h"

namespace palimpsest {

void local_attention_forward_reference(const LocalAttentionInputs<double>& in,
                                       const LocalAttentionResult<double>& result);

/// Needs neither forward's output nor its log-sum-exp. Adds all gradients to what is there; all are wanted.
void local_attention_backward_reference(const LocalAttentionInputs<double>& in,
                                        const LocalAttentionGradients<double>& gradients);

}  // namespace palimpsest
