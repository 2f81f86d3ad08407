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

/// To be called before parameters [begin, end) are used for the first time: `listener`, if any, hears of it now, and
/// again when backward is back here.
inline void announce(Tape& tape, const std::shared_ptr<const ParameterEvents>& listener, std::size_t begin,
                     std::size_t end) {
  if (!listener) return;
  if (listener->needed) listener->needed(begin, end);
  if (listener->gradients_final) {
    tape.when_back_at_this_point([listener, begin, end] { listener->gradients_final(begin, end); });
  }
}

struct ForwardContext {
  Tape& tape;
  LayoutPointer layout;
  std::shared_ptr<const std::vector<std::uint8_t>> mixes;  // rows whose attention mixes in the memory
  std::shared_ptr<const RotaryTable> rotary;
  bool discards_cheap_values = false;  // outputs of norms and gates are computed again in backward
  std::shared_ptr<const ParameterEvents> listener = nullptr;  // null: nobody wants to know
  SequenceGroup sequence = {};                                // the ranks that hold the other segments, if others do
  std::shared_ptr<DeferredGradients> deferred = nullptr;      // where weights' gradients are put off to, if they are

  void announce(std::size_t begin, std::size_t end) const { palimpsest::announce(tape, listener, begin, end); }
  /// Lets go of a value that is cheap to compute again, after its last use in forward.
  void release(const Variable& value) const {
    if (discards_cheap_values) value.discard();
  }
};

}  // namespace palimpsest
