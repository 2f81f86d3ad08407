// Contrast of documents: of a query that several documents of a lane are asked, which one it belongs to.
//
// With s_j = log p(query | document j) / tokens of the query, as launch/search orders documents by it, and p =
// softmax(s / temperature) over the documents asked, a query adds
//
//   weight * tokens of the query * -log p_own
//
// to the sum of losses: beside the mean negative log-likelihood of the queries' tokens the mean, over the same tokens,
// of the cross-entropy. That is the loss of in-batch negatives (Henderson et al. 2017, arXiv 1705.00652) with
// likelihoods in place of products of vectors.
//
// Its derivative by the negative log-likelihood of a token of the query after document j is weight / temperature *
// (1 - p_j) for its own document and -weight / temperature * p_j for another: loss weights that follow from the losses.
// So a pass without gradients finds the losses, and the pass with them is the usual one, with these loss weights, in
// any schedule.
#pragma once

#include <span>
#include <vector>

#include "core/token_batch.h"
#include "layers/model_config.h"
#include "layers/pass_options.h"

namespace palimpsest {

/// Throws ConfigError where queries that follow each other would see each other: unless the attention is `infini`
/// without an overlap, tokens that are not written to the memory leave something behind.
void require_contrast(const AttentionConfig& attention);

/// The batch's loss weights with those of the contrast added, where `losses` are the negative log-likelihoods of its
/// targets. Adds to contrast.totals. Throws ShapeError on other numbers of losses or marks of queries than tokens, and
/// on a query of which not exactly one document is the own one, or that has not as many tokens after each.
std::vector<float> contrasted_weights(const TokenBatch& batch, std::span<const double> losses,
                                      const Contrast& contrast);

}  // namespace palimpsest
