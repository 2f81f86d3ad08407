// Differentiable concatenation and cutting of rows, lane by lane.
#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace palimpsest {

/// (lanes, before, width) and (lanes, rows, width) -> (lanes, before + rows, width); `first` may have no rows. Throws
/// ShapeError on a mismatch.
Variable append_rows(Tape& tape, const Variable& first, const Variable& second);

/// The last `count` rows of every lane: (lanes, rows, width) -> (lanes, count, width). Throws ShapeError when there are
/// not so many.
Variable last_rows(Tape& tape, const Variable& x, std::int64_t count);

}  // namespace palimpsest
