#include "launch/inference/position_losses.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace palimpsest {

double PositionScore::token_perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }

PositionLosses::PositionLosses(Position kind, std::int64_t first, std::int64_t positions)
    : kind_(kind), first_(first), positions_(positions) {
  if (positions > 0) sums_.resize(2 * (bucket_of(positions - 1) + 1), 0.0);
}

std::size_t PositionLosses::bucket_of(std::int64_t position) const {
  return static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(position / first_)));
}

std::int64_t PositionLosses::position_of(const EvaluatedRun& run, std::int64_t i) const {
  switch (kind_) {
    case Position::in_segment: return run.position_in_segment(i);
    case Position::in_compressions: return run.compressions(i);
    case Position::in_document: break;
  }
  return run.position + i;
}

void PositionLosses::add(const EvaluatedRun& run) {
  for (std::int64_t i = 0; i < run.tokens(); ++i) {
    const std::size_t at = 2 * bucket_of(position_of(run, i));
    sums_[at] += run.losses[static_cast<std::size_t>(i)];
    sums_[at + 1] += 1;
  }
}

std::vector<PositionScore> PositionLosses::scores() const {
  std::vector<PositionScore> scores;
  std::int64_t begin = 0;
  for (std::size_t at = 0; at < sums_.size(); at += 2) {
    const std::int64_t end = std::min(begin == 0 ? first_ : 2 * begin, positions_);
    if (sums_[at + 1] > 0) scores.push_back({begin, end, std::llround(sums_[at + 1]), sums_[at]});
    begin = end;
  }
  return scores;
}

}  // namespace palimpsest
