// The output head and its loss in one operator, by blocks of rows: the logits of all rows, tokens
// times vocabulary of them, never exist.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "autograd/tape.h"
#include "core/token_batch.h"

namespace palimpsest {

/// Another model's rows, from whose distribution over the vocabulary that of the model is to differ little:
/// distillation (Hinton et al. 2015, arXiv 1503.02531).
struct TeacherRows {
  Tensor hidden;     // (rows..., width of the teacher), what its head is applied to
  Tensor weight;     // of its head, (vocab, width of the teacher); both of the type of the model's
  double share = 0;  // of the divergence in the loss; 1 - share is the targets'
};

/// What rows of hidden states are to predict, one element a row.
struct LossTargets {
  std::vector<std::int32_t> targets;
  std::vector<float> weights;
  std::vector<std::uint8_t> answers = {};  // not 0: it is asked whether the target is the likeliest; empty: never
  /// Added to in backward: the answers of some weight, and those that were right. May be null.
  std::shared_ptr<AnswerCounts> counts = {};
  std::vector<std::uint8_t> sources = {};  // which of `totals` a row is added to; empty: none
  /// Added to in backward, one a source. May be null.
  std::shared_ptr<std::vector<SourceTotals>> totals = {};
  std::shared_ptr<const TeacherRows> teacher = {};  // null: none
  /// Added to wherever the loss is computed, if there is a teacher. May be null.
  std::shared_ptr<DistillationTotals> distilled = {};
};

/// Sum over rows of weights * nll, nll = logsumexp(hidden W^T) - (hidden W^T)[target], as a
/// float64 scalar. hidden (rows..., in), weight (vocab, in) of the same type; one target and one loss
/// weight a row. Logits are float32 for bfloat16 operands. A row of weight 0 contributes nothing.
/// With a teacher, sum over rows of weights * ((1 - share) nll + share KL(teacher || model)); no gradient reaches the
/// teacher.
///
/// The work is done once. When the tape records, value and gradients are computed together in
/// backward: the value is NaN until backward has run. In inference it is computed at once; in a
/// preview it stays NaN. The sum is independent of the thread count. Throws ShapeError on a mismatch
/// or, naming the row, on a target outside the vocabulary.
Variable linear_cross_entropy(Tape& tape, const Variable& hidden, const Variable& weight, LossTargets loss);

/// Rows of logits that exist at a time: many enough for full-speed products. It depends on the vocabulary only.
std::int64_t head_block_rows(std::int64_t vocab);

/// The nll of every row, without gradients.
std::vector<double> token_losses(MemoryPool& pool, const Tensor& hidden, const Tensor& weight,
                                 std::span<const std::int32_t> targets);

}  // namespace palimpsest
