// Table look-up by token. T: float, double, bfloat16.
//   y[i] = weight[token[i]];   dweight[v] += sum over i with token[i] = v, in order, of dy[i]
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data_type.h"

namespace palimpsest {

/// weight (vocab, columns), y (tokens, columns).
template <class T>
void embedding_forward(const T* weight, std::span<const std::int32_t> tokens, std::int64_t columns, T* y);

/// Adds to dweight. Threads share the columns and, where these are few, the vocabulary, so every element sums in order
/// of position.
template <class T>
void embedding_backward(const T* dy, std::span<const std::int32_t> tokens, std::int64_t columns,
                        accumulate_t<T>* dweight);

/// Elements that each of `threads` threads adds in it, gradients being float32.
std::vector<double> embedding_backward_shares(std::span<const std::int32_t> tokens, std::int64_t columns, int threads);

}  // namespace palimpsest
