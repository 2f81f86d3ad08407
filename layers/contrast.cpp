#include "layers/contrast.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// A query after one of the documents that are asked it.
struct Candidate {
  std::vector<std::size_t> rows;
  double loss = 0;
  bool own = false;
};

using Candidates = std::map<std::int64_t, Candidate>;  // by document

/// Of one lane, by query.
std::map<std::int32_t, Candidates> candidates_of(const TokenBatch& batch, std::int64_t lane,
                                                 std::span<const double> losses) {
  std::map<std::int32_t, Candidates> queries;
  const auto first = static_cast<std::size_t>(lane * batch.tokens);
  for (std::size_t row = first; row < first + static_cast<std::size_t>(batch.tokens); ++row) {
    if (batch.queries[row] == 0) continue;
    Candidate& candidate = queries[batch.queries[row]][batch.documents[row]];
    candidate.rows.push_back(row);
    candidate.loss += losses[row];
    candidate.own = candidate.own || batch.loss_weights[row] > 0;
  }
  return queries;
}

void check(const Candidates& candidates, std::int64_t lane, std::int32_t query) {
  std::int64_t own = 0;
  const std::size_t tokens = candidates.begin()->second.rows.size();
  for (const auto& [document, candidate] : candidates) {
    own += candidate.own ? 1 : 0;
    if (candidate.rows.size() == tokens) continue;
    throw ShapeError(fmt::format("query {} of lane {} has {} tokens after one document and {} after another", query,
                                 lane, tokens, candidate.rows.size()));
  }
  if (own == 1) return;
  throw ShapeError(fmt::format("query {} of lane {} belongs to {} of the {} documents that are asked it, expected 1",
                               query, lane, own, candidates.size()));
}

}  // namespace

void require_contrast(const AttentionConfig& attention) {
  if (attention.kind == AttentionKind::infini && attention.overlap == 0) return;
  throw ConfigError(
      "contrast of documents needs model.attention.kind infini without an overlap: queries that follow each other "
      "would "
      "see each other");
}

std::vector<float> contrasted_weights(const TokenBatch& batch, std::span<const double> losses,
                                      const Contrast& contrast) {
  if (losses.size() != batch.loss_weights.size() || batch.queries.size() != batch.loss_weights.size()) {
    throw ShapeError(fmt::format("contrast: {} losses and {} marks of queries for {} tokens", losses.size(),
                                 batch.queries.size(), batch.loss_weights.size()));
  }
  std::vector<float> weights = batch.loss_weights;
  ContrastTotals totals;
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    for (const auto& [query, candidates] : candidates_of(batch, lane, losses)) {
      check(candidates, lane, query);
      const auto tokens = static_cast<double>(candidates.begin()->second.rows.size());
      const auto logit = [&](const Candidate& candidate) { return -candidate.loss / (tokens * contrast.temperature); };
      double largest = logit(candidates.begin()->second), sum = 0, of_others = -INFINITY, of_own = 0;
      for (const auto& [document, candidate] : candidates) largest = std::max(largest, logit(candidate));
      for (const auto& [document, candidate] : candidates) {
        sum += std::exp(logit(candidate) - largest);
        candidate.own ? of_own = logit(candidate) : of_others = std::max(of_others, logit(candidate));
      }
      for (const auto& [document, candidate] : candidates) {
        const double share = std::exp(logit(candidate) - largest) / sum;
        const double added = contrast.weight / contrast.temperature * ((candidate.own ? 1.0 : 0.0) - share);
        for (const std::size_t row : candidate.rows) weights[row] += static_cast<float>(added);
      }
      totals.loss += tokens * (std::log(sum) + largest - of_own);
      totals.tokens += tokens;
      totals.found.right += of_own > of_others ? 1 : 0;
      ++totals.found.all;
    }
  }
  if (contrast.totals != nullptr) {
    contrast.totals->loss += totals.loss;
    contrast.totals->tokens += totals.tokens;
    contrast.totals->found.right += totals.found.right;
    contrast.totals->found.all += totals.found.all;
  }
  return weights;
}

}  // namespace palimpsest
