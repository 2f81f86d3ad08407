// The keys and values in front of a run of segments, for ranks that share a sequence (docs/communication.md, "An
// overlap"): those of the last tokens of the rank before it.
#pragma once

#include "autograd/ops/memory_scan.h"

namespace palimpsest {

/// As append_rows and last_rows (autograd/ops/rows.h) do for a rank that has the sequence alone, in two steps, between
/// which there is time for other work. Backward takes them in reverse, one exchange each, so all ranks of the group
/// must make the same calls. What is exchanged does not depend on the number of tokens.
class SharedOverlap {
 public:
  struct KeysAndValues {
    Variable key, value;
  };
  struct Result {
    KeysAndValues rows;   // (lanes, overlap + tokens, width): of the share's tokens and the `overlap` in front of them
    KeysAndValues after;  // (lanes, overlap, width): the last of the whole sequence, the same bits on all ranks,
                          // without a gradient
  };

  /// Starts the exchange. `mine` (lanes, tokens, width) of the share's tokens; `before` (lanes, overlap, width), in
  /// the accumulate type, what stands in front of the whole sequence, the same on all ranks, into which no gradient
  /// flows. No rank but the last that has tokens may have fewer than `overlap`. Throws ShapeError on a mismatch.
  SharedOverlap(Tape& tape, const SequenceGroup& group, const KeysAndValues& mine, const KeysAndValues& before);
  /// Waits for it.
  Result finish();

 private:
  class Pass;
  Tape& tape_;
  std::shared_ptr<Pass> pass_;  // also held by what is recorded on the tape
  BackwardStage gradients_;     // when what other ranks have found for this one's keys and values has come
  bool records_;
};

}  // namespace palimpsest
