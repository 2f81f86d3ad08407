// Sequence parallelism: how several ranks share the segments of a sequence (docs/communication.md).
// Every rank knows the documents of the whole sequence, so nobody has to be asked where they lie.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/sequence_layout.h"
#include "core/token_batch.h"

namespace palimpsest {

/// The run of consecutive segments of every lane that one of `ranks` ranks holds.
struct SequenceShare {
  int rank = 0;
  int ranks = 1;
  std::int64_t begin = 0, end = 0;  // its tokens of each lane
  /// Of these tokens, the memory before the first holding what the ranks before have written. A rank
  /// without segments has an idle layout: a token in every lane that reads, writes and forgets nothing.
  SequenceLayout layout;
  std::vector<std::uint8_t> passes;         // (ranks, lanes): whether all segments of the rank keep the memory
  std::vector<std::int64_t> last_document;  // per lane: in memory after the whole sequence
  std::vector<std::int64_t> tokens;         // (ranks): of each lane that a rank holds
  std::vector<std::int64_t> segments;       // (ranks): the same in segments

  bool idle() const { return begin == end; }
  bool lets_pass(int of_rank, std::int64_t lane) const {
    return passes[static_cast<std::size_t>(of_rank * layout.lanes + lane)] != 0;
  }
};

/// Rank p holds segments [S p / ranks, S (p + 1) / ranks) of the S of a lane: runs differ by one
/// segment at most, and the longer ones come last, where the ragged segment is. `documents` (lanes x
/// tokens), `carried` (per lane) and `write_weights` (lanes x tokens, or empty) are those of the whole sequence, as for
/// make_layout. Throws ShapeError as make_layout does, or when there is no such rank.
SequenceShare share_sequence(std::span<const std::int64_t> documents, std::span<const std::int64_t> carried,
                             std::int64_t segment_length, int rank, int ranks,
                             std::span<const float> write_weights = {});

/// Tokens of the longest share of a lane.
std::int64_t longest_share(std::int64_t tokens, std::int64_t segment_length, int ranks);

/// The share's tokens; for an idle one a token 0 without weight in every lane.
TokenBatch tokens_of(const SequenceShare& share, const TokenBatch& whole);

/// How many slots after the first the memory carried into the lane reaches: segment s finds it in its
/// slot s while s <= reach.
std::int64_t reach_of_memory(const SequenceLayout& layout, std::int64_t lane);

}  // namespace palimpsest
