// The gate between memory and local attention (Munkhdalai et al. 2024, equation 10):
//   A = g A_mem + (1 - g) A_dot,  g = sigmoid(beta), one beta a query head
// in the rows that mix; the others keep A_dot.
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/head_rows.h"
#include "core/tensor.h"

namespace palimpsest {

/// beta (heads); `mixes` (rows): whether a row mixes.
template <class T>
void gate_forward(const accumulate_t<T>* beta, std::span<const std::uint8_t> mixes, HeadRows<const T> from_memory,
                  HeadRows<const T> local, HeadRows<T> output);

/// Writes (or adds) the gradients of all three inputs; d_beta sums over rows in an order that does not
/// depend on the thread count.
template <class T>
void gate_backward(MemoryPool& pool, const accumulate_t<T>* beta, std::span<const std::uint8_t> mixes,
                   HeadRows<const T> from_memory, HeadRows<const T> local, HeadRows<const T> d_output,
                   HeadRows<T> d_from_memory, bool accumulate_memory, HeadRows<T> d_local, bool accumulate_local,
                   accumulate_t<T>* d_beta, bool accumulate_beta);

}  // namespace palimpsest
