// What every layer of a forward pass needs to know about the batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/ops/memory.h"
#include "autograd/tape.h"
#include "core/kernels/rope.h"
#include "core/sequence_layout.h"

namespace palimpsest {

struct ForwardContext {
  Tape& tape;
  LayoutPointer layout;
  std::shared_ptr<const std::vector<std::uint8_t>> mixes;  // rows whose attention mixes in the memory
  std::shared_ptr<const RotaryTable> rotary;
  bool discards_cheap_values = false;  // outputs of norms and gates are computed again in backward

  /// Lets go of a value that is cheap to compute again, after its last use in forward.
  void release(const Variable& value) const {
    if (discards_cheap_values) value.discard();
  }
};

}  // namespace palimpsest
