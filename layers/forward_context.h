// What every layer of a forward pass needs to know about the batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/deferred_gradients.h"
#include "autograd/ops/memory.h"
#include "autograd/ops/memory_scan.h"
#include "autograd/tape.h"
#include "core/kernels/rope.h"
#include "core/sequence_layout.h"
#include "layers/pass_options.h"

namespace palimpsest {

struct ForwardContext {
  Tape* tape;
  LayoutPointer layout = nullptr;
  std::shared_ptr<const RotaryTable> rotary = nullptr;  // as many positions as the attention asks for
  /// Per lane: tokens that the state has of the document it is of.
  std::shared_ptr<const std::vector<std::int64_t>> tokens_before = nullptr;
  bool keeps_state = true;  // whether anything goes on from here: else the result has no state of the layers
  bool keeps_open = false;  // whether decoding goes on from here: see Attention::Result::open
  /// What backward computes again: none, cheap or block.
  Recompute recompute = Recompute::none;
  std::shared_ptr<const ParameterEvents> listener = nullptr;  // null: nobody wants to know
  SequenceGroup sequence = {};                                // the ranks that hold the other segments, if others do
  std::shared_ptr<DeferredGradients> deferred = nullptr;      // where weights' gradients are put off to, if they are

  /// The same on another tape: inside a recomputed block, whose cheap values are recomputed, too.
  ForwardContext inside_block(Tape& other) const {
    ForwardContext inside = *this;
    inside.tape = &other;
    inside.recompute = Recompute::cheap;
    return inside;
  }

  /// To be called before parameters [begin, end) are used for the first time: the listener, if any, hears of it now,
  /// and again when backward is back here.
  void announce(std::size_t begin, std::size_t end) const {
    if (!listener) return;
    if (listener->needed) listener->needed(begin, end);
    if (listener->gradients_final) {
      tape->when_back_at_this_point([listener = listener, begin, end] { listener->gradients_final(begin, end); });
    }
  }

  /// Lets go of a value that is cheap to compute again, after its last use in forward.
  void release(const Variable& value) const {
    if (recompute == Recompute::cheap) value.discard();
  }
};

}  // namespace palimpsest
