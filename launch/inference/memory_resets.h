// Evaluations in which the memory is knocked out or emptied again and again: what they lose against one that keeps
// it is what the memory contributes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/token_batch.h"

namespace palimpsest {

/// What is left of the memory when every so many segments it begins empty: 0 "kept", 1 "none", else "reset:SEGMENTS".
std::string memory_name(std::int64_t segments);
/// The segments that such a name says, 10^9 at most; nothing when it is none.
std::optional<std::int64_t> memory_segments(std::string_view name);

/// Has the memory begin empty after every `period` tokens of a lane, a multiple of the segment's length, as if a
/// document began there. Token i of a lane that has read `before` tokens of its document becomes one of document
/// `documents * pieces + piece`, with piece = (before + i) / period, but at most pieces - 1. Losses need no change: the
/// last token of a piece still predicts the first of the next.
void reset_memory(TokenBatch& batch, std::span<const std::int64_t> before, std::int64_t period, std::int64_t pieces);

}  // namespace palimpsest
