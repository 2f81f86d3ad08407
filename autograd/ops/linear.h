// Differentiable products with a weight matrix, without bias.
#pragma once

#include <memory>

#include "autograd/deferred_gradients.h"
#include "autograd/tape.h"

namespace palimpsest {

/// y = x W^T: x (rows..., in), weight (out, in) -> (rows..., out), all of one type. The weight's
/// gradient grows in place, in float32 for bfloat16 operands; with `deferred` only when that is run, after backward has
/// passed. Throws ShapeError on a mismatch.
Variable linear(Tape& tape, const Variable& x, const Variable& weight,
                const std::shared_ptr<DeferredGradients>& deferred = nullptr);

/// residual + x W^T, residual (rows..., out): one accumulating product. The gradient of the residual
/// is that of the result, shared without a copy.
Variable linear_add(Tape& tape, const Variable& x, const Variable& weight, const Variable& residual,
                    const std::shared_ptr<DeferredGradients>& deferred = nullptr);

}  // namespace palimpsest
