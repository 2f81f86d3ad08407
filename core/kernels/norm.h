// RMSNorm by rows. T: float, double, bfloat16; sums, weight and statistics in accumulate_t<T>.
//   y = x r w,  r = 1 / sqrt(mean(x^2) + epsilon)
//   dx = r (g - x r^2 mean(g x)),  g = dy w;   dw = sum over rows of dy x r
#pragma once

#include <cstdint>

#include "core/data_type.h"

namespace palimpsest {

/// x, y (rows, columns); weight (columns); inverse_rms (rows): the r of each row, for backward.
template <class T>
void rms_norm_forward(const T* x, const accumulate_t<T>* weight, std::int64_t rows, std::int64_t columns,
                      double epsilon, T* y, accumulate_t<T>* inverse_rms);

/// Rows are summed for dw in blocks of fixed size, so that the result does not depend on the thread
/// count: (rms_norm_blocks(rows), columns) numbers of scratch.
std::int64_t rms_norm_blocks(std::int64_t rows);

/// Adds to dx and dw, or overwrites them; either may be null where no gradient is wanted.
template <class T>
void rms_norm_backward(const T* x, const accumulate_t<T>* weight, const accumulate_t<T>* inverse_rms, const T* dy,
                       std::int64_t rows, std::int64_t columns, T* dx, bool accumulate_dx, accumulate_t<T>* dw,
                       bool accumulate_dw, accumulate_t<T>* scratch);

}  // namespace palimpsest
