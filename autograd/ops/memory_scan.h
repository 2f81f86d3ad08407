// memory_write for ranks that share a sequence (docs/communication.md, "Ranks that share a sequence"): each writes
// its own segments, then one exchange of states tells it what the ranks before have written.
#pragma once

#include <memory>

#include "autograd/ops/memory.h"
#include "core/comm/communicator.h"
#include "core/sequence_share.h"

namespace palimpsest {

/// The ranks that share a sequence and what this one holds of it; empty when it has the sequence alone.
struct SequenceGroup {
  Communicator* ranks = nullptr;
  std::shared_ptr<const SequenceShare> share;
  /// Whether an exchange goes on while its caller computes; else it is over before a step returns.
  bool overlaps = true;

  explicit operator bool() const { return ranks != nullptr; }
  LayoutPointer layout() const { return {share, &share->layout}; }
};

/// The write of one layer in three steps, between which there is time for work that does not need what
/// other ranks have written. Backward takes the same steps in reverse, one exchange each, so all ranks of
/// the group must make the same calls. The exchanges' volume does not depend on the number of tokens.
class SharedMemoryWrite {
 public:
  /// `key` (lanes, tokens, kv_heads * head_size) of the share's tokens; `initial` the state before the whole
  /// sequence, the same on all ranks, into which no gradient flows; `decay` as for memory_write. Delta rule:
  /// starts the exchange of norms. Throws ShapeError on a mismatch.
  SharedMemoryWrite(Tape& tape, const SequenceGroup& group, const Variable& key, const LayerMemory& initial,
                    const HeadCounts& counts, MemoryRule rule, const Variable& decay = {});
  /// Writes the share's segments to an empty memory and starts the exchange of states.
  void start(const Variable& value);
  /// Waits, and gives what memory_write does: the states before each of the share's segments, and the
  /// state after the whole sequence, the same bits on all ranks and without a gradient.
  MemoryWrite finish();

 private:
  class Pass;
  Tape& tape_;
  std::shared_ptr<Pass> pass_;  // also held by what is recorded on the tape
  // What backward does when it is back at a step, once the step after it has begun an exchange.
  BackwardStage norm_, write_;
  bool records_ = false;
};

}  // namespace palimpsest
