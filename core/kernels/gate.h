// The gate between memory and local attention (Munkhdalai et al. 2024, equation 10):
//   A = g A_mem + (1 - g) A_dot,  g = sigmoid(beta), one beta a query head
// or, where it adds,
//   A = A_dot + g A_mem
// in the rows that mix; the others keep A_dot.
#pragma once

#include <cstdint>
#include <span>

#include "core/gradient.h"
#include "core/kernels/head_rows.h"
#include "core/tensor.h"

namespace palimpsest {

template <class T>
struct GateInputs {
  const accumulate_t<T>* beta = nullptr;     // (heads)
  std::span<const std::uint8_t> mixes{};     // (rows): whether a row mixes
  HeadRows<const T> from_memory{}, local{};  // (rows, heads, d)
  bool adds = false;
};

template <class T>
struct GateGradients {
  HeadRows<const T> d_output{};
  Gradient<HeadRows<T>> d_from_memory{}, d_local{};
  Gradient<accumulate_t<T>*> d_beta{};  // sums over rows in an order that does not depend on the thread count
};

template <class T>
void gate_forward(const GateInputs<T>& in, HeadRows<T> output);

/// Rows whose contributions to d_beta are summed by one thread: fewer where there are few in all, so that dozens of
/// threads have some.
std::int64_t gate_rows_of_block(std::int64_t rows);

template <class T>
void gate_backward(MemoryPool& pool, const GateInputs<T>& in, const GateGradients<T>& gradients);

}  // namespace palimpsest
