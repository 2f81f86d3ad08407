// Differentiable compressive memory: write and read (core/kernels/memory.h has the equations).
#pragma once

#include <cstdint>
#include <memory>

#include "autograd/tape.h"
#include "core/kernels/memory.h"
#include "core/sequence_layout.h"

namespace palimpsest {

/// How activations (lanes, tokens, heads * head_size) divide into heads.
struct HeadCounts {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_size = 0;
};

/// The memory of one layer, in the accumulate type of the activations.
struct LayerMemory {
  Variable matrix;  // (lanes, kv_heads, head_size, head_size), indexed key, value
  Variable norm;    // (lanes, kv_heads, head_size)
};

struct MemoryWrite {
  LayerMemory before;  // as each segment found it: (segments, lanes, kv_heads, ...)
  LayerMemory after;   // after the last segment: (lanes, kv_heads, ...)
};

using LayoutPointer = std::shared_ptr<const SequenceLayout>;

/// Writes every segment of key and value (lanes, tokens, kv_heads * head_size) to the memory, one
/// after the other. Gradients flow from what was read before each segment and from the final state
/// to keys, values and the initial state. `decay` (kv_heads), in the accumulate type: the share of a head's memory that
/// goes on from segment to segment, in which gradients flow as well; undefined: all of it. Throws ShapeError on a
/// mismatch.
MemoryWrite memory_write(Tape& tape, const Variable& key, const Variable& value, const LayerMemory& initial,
                         const LayoutPointer& layout, const HeadCounts& counts, MemoryRule rule,
                         const Variable& decay = {});

/// A_mem (lanes, tokens, heads * head_size): what each query reads of the memory as its segment found
/// it (`before` of memory_write); 0 where its document has nothing there. With a gain (heads, head_size), in the
/// accumulate type, the read is normalised by its root mean square instead of the norm, which gets no gradient then.
/// Throws ShapeError on a mismatch, and on features without a norm where there is no gain.
Variable memory_read(Tape& tape, const Variable& query, const LayerMemory& before, const LayoutPointer& layout,
                     const HeadCounts& counts, double epsilon, const Variable& gain = {},
                     MemoryFeatures features = MemoryFeatures::elu);

/// What key/value heads have, for each of the query heads that share them: (lanes, tokens, kv_heads * head_size) ->
/// (lanes, tokens, heads * head_size). Throws ShapeError on a mismatch.
Variable repeat_heads(Tape& tape, const Variable& x, const HeadCounts& counts);

}  // namespace palimpsest
