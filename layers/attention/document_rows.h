// Keys and values of a document's earlier tokens as a state: "key" and "value", (lanes, rows, kv_heads * head_size),
// without position, the latest last. A lane whose document has fewer tokens than there are rows has rows without
// meaning in front.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sequence_layout.h"
#include "layers/attention/attention.h"
#include "layers/attention/projections.h"

namespace palimpsest::document_rows {

/// So many rows, zeros.
LayerState empty(MemoryPool& pool, const Projections& projections, std::int64_t lanes, std::int64_t rows);

/// Of each span of the layout, how many tokens of its document stand in front of it, when `before` tokens of the
/// document that a lane goes on with stand in front of the lane.
std::vector<std::int64_t> tokens_in_front(const SequenceLayout& layout, const std::vector<std::int64_t>& before);

/// The last `count` rows of a lane's state, then the first `open` rows of its open segment.
Tensor so_far(MemoryPool& pool, const StateTensor& state, std::int64_t count, const StateTensor& segment,
              std::int64_t open, std::int64_t lane);

/// Decoding of a token that sees its open segment and, before it, up to `most` tokens of its document in the state:
/// residual + attention(x).
Variable decode(const DecodeContext& context, const Projections& projections, const Variable& x,
                const Variable& residual, const LayerState& state, std::int64_t most, LayerState& segment);

/// The full segments of these lanes go behind the rows of their states, which keep as many, the last ones.
void append(MemoryPool& pool, std::span<const std::int64_t> lanes, const LayerState& segment, LayerState& state);

}  // namespace palimpsest::document_rows
