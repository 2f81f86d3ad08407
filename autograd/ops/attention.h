// Differentiable local attention and the gate that joins it with what the memory gave.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/ops/memory.h"
#include "autograd/tape.h"
#include "core/kernels/rope.h"

namespace palimpsest {

/// A_dot (lanes, tokens, heads * head_size): causal softmax attention with RoPE inside each span of the layout, and
/// over the keys directly in front of it that it says it sees (Span::keys_before). Query (lanes, tokens, heads *
/// head_size), key and value (lanes, keys, kv_heads * head_size), all without position; keys >= tokens: the last
/// `tokens` of a lane are those of the query's tokens, those in front of them what spans may see besides, say the keys
/// of earlier passes, and gradients flow to them, too, unless the spans give them to `own_keys_only`. Keeps its inputs,
/// its output and one number per token and head for backward. Throws ShapeError on a mismatch, or where a span's keys
/// or positions are not there.
Variable local_attention(Tape& tape, const Variable& query, const Variable& key, const Variable& value,
                         const LayoutPointer& layout, const HeadCounts& counts,
                         const std::shared_ptr<const RotaryTable>& table, bool own_keys_only = false);

/// Which rows mix memory and local attention, by token row of the layout: all of them with
/// `everywhere` (the paper's equation), else those that have a memory to read.
std::vector<std::uint8_t> rows_that_mix(const SequenceLayout& layout, bool everywhere);

/// A = g A_mem + (1 - g) A_dot with g = sigmoid(beta) in the rows that mix, A_dot elsewhere; where it `adds`,
/// A_dot + g A_mem. beta (heads) in the accumulate type. Throws ShapeError on a mismatch.
Variable gate(Tape& tape, const Variable& beta, const Variable& from_memory, const Variable& local,
              const std::shared_ptr<const std::vector<std::uint8_t>>& mixes, const HeadCounts& counts,
              bool adds = false);

}  // namespace palimpsest
