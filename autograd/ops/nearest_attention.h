// Differentiable attention over the nearest of stored keys.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/ops/memory.h"
#include "autograd/tape.h"
#include "core/kernels/nearest_attention.h"

namespace palimpsest {

/// Of each query of a run softmax attention over the `top_k` keys of the run that are nearest to it, by the product
/// with it, zeros for queries of no run (core/kernels/nearest_attention.h). Query (..., heads * head_size), key and
/// value
/// (..., kv_heads * head_size), all without position, rows counted over all axes but the last. Keys and values are
/// constants. Keeps the query's gradient's operands: key, value, and of each token and head top_k rows and weights.
/// Throws ShapeError on a mismatch, or where a run's rows are not there.
Variable nearest_attention(Tape& tape, const Variable& query, const Tensor& key, const Tensor& value,
                           const std::vector<StoredKeys>& runs, std::int64_t top_k, const HeadCounts& counts);

}  // namespace palimpsest
