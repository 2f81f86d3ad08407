// Segments whose local attention sees some tokens in front of them as well.
#pragma once

#include <cstdint>
#include <span>

#include "core/sequence_layout.h"

namespace palimpsest {

/// The layout in which the tokens of a segment that continues its lane's document also see the `overlap` tokens of that
/// document in front of it, or as many as there are: of the segments before, and of what lane i has read of the
/// document before the layout's first token, `before[i]` tokens. Every position is `overlap` higher, for them to fit.
SequenceLayout overlapping(SequenceLayout layout, std::span<const std::int64_t> before, std::int64_t overlap);

}  // namespace palimpsest
