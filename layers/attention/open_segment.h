// The keys and values of a segment that is being decoded token by token: what local attention sees of it.
#pragma once

#include <cstdint>

#include "core/kernels/rope.h"
#include "layers/attention/attention.h"
#include "layers/attention/projections.h"

namespace palimpsest::open_segment {

/// "key", "rotated_key" and "value", each (lanes, segment_length, kv_heads * head_size), the first without position.
LayerState empty(MemoryPool& pool, const Projections& projections, std::int64_t lanes, std::int64_t segment_length);

/// Takes in the keys and values (rows, 1, kv_heads * head_size) of one token of some lanes, position 0 after the first
/// `in_front` rows. Throws ShapeError when a position lies outside the segment.
void append(const DecodeContext& context, const Projections& projections, const Tensor& key, const Tensor& value,
            LayerState& segment, std::int64_t in_front = 0);

/// A lane's first rows get these keys and values (rows, kv_heads * head_size), the first at position 0.
void put_in_front(MemoryPool& pool, const Projections& projections, const Tensor& keys, const Tensor& values,
                  const RotaryTable& rotary, std::int64_t lane, LayerState& segment);

/// Takes the first `tokens` keys and values of row `row` of a forward pass, (lanes, tokens, kv_heads * head_size).
void assign(MemoryPool& pool, const Projections& projections, const LayerVariables& keys_and_values, std::int64_t row,
            std::int64_t tokens, const RotaryTable& rotary, std::int64_t lane, LayerState& segment);

/// Keys (rows, kv_heads * head_size) turned to the positions from `first` on; they may be written over.
void rotate_rows(const Projections& projections, const Tensor& keys, std::int64_t first, const RotaryTable& rotary,
                 Tensor& rotated);

/// Attention of one token of some lanes inside their open segments, which take its key and value in: (rows, 1, heads *
/// head_size), before the output projection. x and its query (rows, 1, ...).
Variable decode_local(const DecodeContext& context, const Projections& projections, const Variable& x,
                      const Variable& query, LayerState& segment);

/// Of a lane, (segment_length, kv_heads * head_size).
Tensor lane_of(const StateTensor& entry, std::int64_t lane);

inline const StateTensor& key(const LayerState& segment) { return segment[0]; }
inline const StateTensor& rotated_key(const LayerState& segment) { return segment[1]; }
inline const StateTensor& value(const LayerState& segment) { return segment[2]; }

}  // namespace palimpsest::open_segment
