// Passes of a model over a batch: the schedules of a sequence's segments, the loss and its gradients, recomputation,
// and what is announced on the way.
#pragma once

#include <vector>

#include "core/token_batch.h"
#include "layers/language_model.h"
#include "layers/pass_options.h"

namespace palimpsest {

/// Forward and backward over every segment of the batch, gradients flowing through what the segments carry from the
/// last to the first: those of loss_scale * sum(loss_weights * nll) are added to the parameters'. `state` is replaced
/// by the one after the batch, detached. Returns the unscaled sum. A batch without a target, every loss weight being 0,
/// is read forward only: the state has the same bits, and the events are told, but nothing is kept for a backward pass,
/// which is not there, and the head has no part. With options.sequence_ranks loss and gradients are
/// those of this rank's segments, which add up to the batch's, and the state is the same on all ranks. Throws
/// ShapeError on a batch or a state whose sizes do not fit, ConfigError when schedule or recomputation is automatic,
/// when segments that follow each other are to be computed at once, or when ranks share a sequence in a way they
/// cannot: recomputing it segment by segment, or with an attention that looks back at all of it.
double accumulate_gradients(LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state,
                            const PassOptions& options);

/// The negative log-likelihood of every target, (lanes, tokens); advances `state`. No gradients.
/// Of ranks that share the sequence each gives its tokens' and 0 for the others'.
std::vector<double> token_losses(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch,
                                 SequenceState& state, Communicator* sequence_ranks = nullptr);

/// (lanes, tokens, vocab_size), float32 (float64 in tests); advances `state`. No gradients.
Tensor logits(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state);

}  // namespace palimpsest
