// A bias added to rows. T: float, double, bfloat16; bias and sums in accumulate_t<T>.
//   y = x + b;   dx = dy,  db = sum over rows of dy
#pragma once

#include <cstdint>

#include "core/data_type.h"
#include "core/gradient.h"

namespace palimpsest {

/// x, y (rows, columns), bias (columns)
template <class T>
void add_bias_forward(const T* x, const accumulate_t<T>* bias, std::int64_t rows, std::int64_t columns, T* y);

/// Rows are summed in blocks of fixed size, so that the result does not depend on the thread count.
std::int64_t add_bias_blocks(std::int64_t rows);

/// dy (rows, columns), dbias (columns), scratch (add_bias_blocks(rows), columns)
template <class T>
void add_bias_backward(const T* dy, std::int64_t rows, std::int64_t columns, Gradient<accumulate_t<T>*> dbias,
                       accumulate_t<T>* scratch);

}  // namespace palimpsest
