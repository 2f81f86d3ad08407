#include "launch/inference/evaluation_cursor.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace palimpsest {

std::vector<std::vector<std::int64_t>> share_documents(const std::vector<std::int64_t>& tokens, int ranks) {
  std::vector<std::int64_t> longest_first(tokens.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::ranges::stable_sort(longest_first, [&](std::int64_t a, std::int64_t b) {
    return tokens[static_cast<std::size_t>(a)] > tokens[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<std::int64_t>> shares(static_cast<std::size_t>(ranks));
  std::vector<std::int64_t> loads(static_cast<std::size_t>(ranks), 0);
  for (const std::int64_t document : longest_first) {
    if (tokens[static_cast<std::size_t>(document)] == 0) continue;
    const auto rank = static_cast<std::size_t>(std::ranges::min_element(loads) - loads.begin());
    shares[rank].push_back(document);
    loads[rank] += tokens[static_cast<std::size_t>(document)];
  }
  return shares;
}

EvaluationCursor::EvaluationCursor(const TokenFile& file, std::vector<Stretch> stretches, std::int64_t lanes)
    : file_(file), stretches_(std::move(stretches)) {
  for (const Stretch& stretch : stretches_) all_ += stretch.tokens();
  const auto count = std::min(static_cast<std::size_t>(lanes), stretches_.size());
  while (next_ < count) lanes_.push_back(next_lane());
}

EvaluationCursor::Lane EvaluationCursor::next_lane() {
  const Stretch& stretch = stretches_[next_];
  return {next_++, stretch, stretch.begin};
}

TokenBatch EvaluationCursor::batch(std::int64_t most_tokens) const {
  std::int64_t longest = 0;
  for (const Lane& lane : lanes_) longest = std::max(longest, lane.remaining());
  TokenBatch batch;
  batch.lanes = static_cast<std::int64_t>(lanes_.size());
  batch.tokens = std::min(longest, most_tokens);
  for (const Lane& lane : lanes_) {
    const std::int64_t count = std::min(batch.tokens, lane.remaining());
    const std::vector<std::int32_t> tokens = file_.document_tokens(lane.stretch.document, lane.position, count + 1);
    batch.inputs.insert(batch.inputs.end(), tokens.begin(), tokens.end() - 1);
    batch.targets.insert(batch.targets.end(), tokens.begin() + 1, tokens.end());
    batch.loss_weights.insert(batch.loss_weights.end(), static_cast<std::size_t>(count), 1.0f);
    const auto rows = batch.documents.size() + static_cast<std::size_t>(batch.tokens);
    batch.documents.resize(rows, static_cast<std::int64_t>(lane.place));
    batch.inputs.resize(rows, file_.end_id());
    batch.targets.resize(rows, 0);
    batch.loss_weights.resize(rows, 0.0f);
  }
  return batch;
}

std::vector<std::int64_t> EvaluationCursor::advance(std::int64_t tokens) {
  std::vector<Lane> lanes;
  std::vector<std::int64_t> kept;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Lane lane = lanes_[i];
    const std::int64_t count = std::min(tokens, lane.remaining());
    lane.position += count;
    done_ += count;
    if (lane.remaining() == 0) {
      if (next_ == stretches_.size()) continue;
      lane = next_lane();
    }
    lanes.push_back(lane);
    kept.push_back(static_cast<std::int64_t>(i));
  }
  lanes_ = std::move(lanes);
  return kept;
}

}  // namespace palimpsest
