// Elementwise kernels. T: float, double, bfloat16.
#pragma once

#include <cstdint>

namespace palimpsest {

/// out = a + b. Its backward hands the output's gradient on as it is.
template <class T>
void add_forward(const T* a, const T* b, std::int64_t count, T* out);

/// out = 1 / (1 + e^-x);  dx = dout out (1 - out)
template <class T>
void sigmoid_forward(const T* x, std::int64_t count, T* out);
template <class T>
void sigmoid_backward(const T* out, const T* d_out, std::int64_t count, T* dx);

}  // namespace palimpsest
