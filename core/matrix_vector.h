// The product of one row with a transposed matrix, as decoding token by token needs it: each weight is
// used once, so the speed of memory bounds it, not that of arithmetic.
#pragma once

#include <cstdint>

namespace palimpsest {

/// y[n] <- sum over k of x[k] w[n stride + k], plus y[n] before if `accumulate`. x: (inner), w: (outputs,
/// inner) with rows `stride` elements apart, y: (outputs). Sums run in float32, in an order that does not
/// depend on the number of threads. X and W are float or bfloat16 alike, Y is that type or float.
template <class T, class Y>
void row_times_transposed(const T* x, const T* w, std::int64_t stride, std::int64_t inner, std::int64_t outputs, Y* y,
                          bool accumulate);

}  // namespace palimpsest
