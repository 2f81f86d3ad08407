// Concatenation, cutting and choice of rows, differentiable, and the copy that the first two are made of.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/tape.h"

namespace palimpsest {

/// (lanes, before, width) and (lanes, rows, width) -> (lanes, before + rows, width), in the type of `second`; `first`
/// may have no rows, and another type. Throws ShapeError on a mismatch.
Variable append_rows(Tape& tape, const Variable& first, const Variable& second);

/// The last `count` rows of every lane: (lanes, rows, width) -> (lanes, count, width), in the type of x or another.
/// Throws ShapeError when there are not so many.
Variable last_rows(Tape& tape, const Variable& x, std::int64_t count);
Variable last_rows(Tape& tape, const Variable& x, std::int64_t count, DataType type);

/// Every row in the place of the one behind it: (lanes, rows, width) -> the same, row t being row t - 1 of x, and the
/// first row of every lane zero.
Variable rows_before(Tape& tape, const Variable& x);

/// Rows [target_begin, target_begin + count) of every lane of `target` <- as many of `source` from source_begin on;
/// both (lanes, rows, width).
void copy_rows(const Tensor& source, std::int64_t source_begin, std::int64_t count, Tensor& target,
               std::int64_t target_begin);

/// A row of one of several sources, their rows counted over all their axes but the last; -1: a row of zeros.
struct RowPick {
  std::int64_t source = -1;
  std::int64_t row = 0;
};

/// The picked rows, of sources (..., width) -> (lanes, picks / lanes, width). A row may be picked more than once.
/// Throws ShapeError on sources that do not fit together, and on picks that are not there or do not fall into lanes.
Variable take_rows(Tape& tape, std::vector<Variable> sources, std::vector<RowPick> picks, std::int64_t lanes);

}  // namespace palimpsest
