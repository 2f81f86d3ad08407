// The gate of the SwiGLU feed-forward layer. T: float, double, bfloat16.
//   y = silu(g) u = g s u,  s = sigmoid(g);   du = dy g s,  dg = dy u s (1 + g (1 - s))
#pragma once

#include <cstdint>

namespace palimpsest {

/// Elements that threads share the loops in.
inline constexpr std::int64_t swiglu_block = 4096;

template <class T>
void swiglu_forward(const T* gate, const T* up, std::int64_t count, T* y);

template <class T>
void swiglu_backward(const T* gate, const T* up, const T* dy, std::int64_t count, T* dgate, T* dup);

}  // namespace palimpsest
