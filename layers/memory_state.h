// The compressive memory of a whole model as a value: passed in, returned, copied, stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "layers/model_config.h"

namespace palimpsest {

/// What each layer remembers for each lane, and of which document. Copies share their tensors;
/// nothing writes to them in place.
struct MemoryState {
  struct Layer {
    Tensor matrix;  // (lanes, num_kv_heads, head_size, head_size), indexed key, value
    Tensor norm;    // (lanes, num_kv_heads, head_size)
  };
  std::vector<Layer> layers;
  /// Per lane: the document in memory, or no_document.
  std::vector<std::int64_t> documents;

  std::int64_t lanes() const { return static_cast<std::int64_t>(documents.size()); }
};

/// Empty memory: zeros, no document.
MemoryState empty_memory(MemoryPool& pool, const ModelConfig& config, std::int64_t lanes, DataType type);

/// The state of the given lanes, in that order. Throws ShapeError on a lane that is not there.
MemoryState select_lanes(MemoryPool& pool, const MemoryState& state, std::span<const std::int64_t> lanes);

}  // namespace palimpsest
