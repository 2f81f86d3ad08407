// What a decoding holds between two tokens, as a value without its model: to be stored, looked at and taken back.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/layer_state.h"

namespace palimpsest {

struct DecodeSnapshot {
  /// Lanes first, in any order: "state.layers.3.matrix" of the finished segments, "segment.layers.3.key" of the open
  /// ones, and so on, as the attention calls them.
  std::vector<StateTensor> tensors;
  std::vector<std::int64_t> finished;  // per lane: tokens in finished segments
  std::vector<std::int64_t> open;      // per lane: tokens in the open segment

  std::int64_t lanes() const { return static_cast<std::int64_t>(finished.size()); }
};

}  // namespace palimpsest
