// A product with a weight matrix that is changed by a matrix of low rank: LoRA (Hu et al. 2021, arXiv 2106.09685).
#pragma once

#include <memory>

#include "autograd/deferred_gradients.h"
#include "autograd/tape.h"

namespace palimpsest {

/// What is added to a weight matrix (out, in): scale * up down.
struct LowRankChange {
  Variable down;  // (rank, in), the paper's A
  Variable up;    // (out, rank), its B
  double scale = 1;

  bool defined() const { return down.defined(); }
};

/// y = x W^T + scale (x A^T) B^T, and `residual` on top where it is defined: x (rows..., in) -> (rows..., out), all of
/// one type. The product with W is not made anew for the change: it costs what its rank does. `deferred` as in
/// autograd/ops/linear.h. Throws ShapeError on a mismatch.
Variable low_rank_linear(Tape& tape, const Variable& x, const Variable& weight, const LowRankChange& change,
                         const Variable& residual = {}, const std::shared_ptr<DeferredGradients>& deferred = nullptr);

}  // namespace palimpsest
