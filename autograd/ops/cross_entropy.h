// The output head and its loss in one operator, by blocks of rows: the logits of all rows, tokens
// times vocabulary of them, never exist.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/tape.h"

namespace palimpsest {

/// Sum over rows of loss_weights * nll, nll = logsumexp(hidden W^T) - (hidden W^T)[target], as a
/// float64 scalar. hidden (rows..., in), weight (vocab, in) of the same type; one target and one loss
/// weight a row. Logits are float32 for bfloat16 operands. A row of weight 0 contributes nothing.
///
/// The work is done once. When the tape records, value and gradients are computed together in
/// backward: the value is NaN until backward has run. In inference it is computed at once; in a
/// preview it stays NaN. The sum is independent of the thread count. Throws ShapeError on a mismatch
/// or, naming the row, on a target outside the vocabulary.
Variable linear_cross_entropy(Tape& tape, const Variable& hidden, const Variable& weight,
                              std::vector<std::int32_t> targets, std::vector<float> loss_weights);

/// Rows of logits that exist at a time: many enough for full-speed products. It depends on the vocabulary only.
std::int64_t head_block_rows(std::int64_t vocab);

/// The nll of every row, without gradients.
std::vector<double> token_losses(MemoryPool& pool, const Tensor& hidden, const Tensor& weight,
                                 std::span<const std::int32_t> targets);

}  // namespace palimpsest
