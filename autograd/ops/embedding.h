// Differentiable table look-up.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/tape.h"

namespace palimpsest {

/// Rows of weight (vocab, columns) by token: -> (lanes, tokens_per_lane, columns). In backward the
/// rows of equal tokens add up in order of position, whatever the thread count. Throws ShapeError,
/// naming the position, on a token outside the vocabulary, or when there are not
/// lanes * tokens_per_lane tokens.
Variable embedding(Tape& tape, const Variable& weight, std::span<const std::int32_t> tokens, std::int64_t lanes,
                   std::int64_t tokens_per_lane);

}  // namespace palimpsest
