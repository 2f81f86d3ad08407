// Tensors of activations and memory states seen as what the attention kernels take.
#pragma once

#include <fmt/format.h>

#include "autograd/ops/memory.h"
#include "core/kernels/head_rows.h"
#include "core/kernels/memory.h"

namespace palimpsest {

template <class T>
HeadRows<const T> head_rows(const Tensor& tensor, std::int64_t heads, std::int64_t head_size) {
  return {tensor.data<T>(), heads, head_size};
}
template <class T>
HeadRows<T> head_rows(Tensor& tensor, std::int64_t heads, std::int64_t head_size) {
  return {tensor.data<T>(), heads, head_size};
}

template <class T>
Gradient<HeadRows<T>> head_gradient(Gradient<Tensor>& gradient, std::int64_t heads, std::int64_t head_size) {
  if (!gradient.wanted()) return {};
  return {head_rows<T>(gradient.view, heads, head_size), gradient.accumulate};
}

/// An undefined tensor gives an empty view.
template <class A>
MemoryStates<const A> memory_states(const Tensor& matrix, const Tensor& norm, std::int64_t lanes,
                                    const HeadCounts& counts) {
  return {matrix.defined() ? matrix.data<A>() : nullptr, norm.defined() ? norm.data<A>() : nullptr, lanes,
          counts.kv_heads, counts.head_size};
}
template <class A>
MemoryStates<A> memory_states(Tensor& matrix, Tensor& norm, std::int64_t lanes, const HeadCounts& counts) {
  return {matrix.defined() ? matrix.data<A>() : nullptr, norm.defined() ? norm.data<A>() : nullptr, lanes,
          counts.kv_heads, counts.head_size};
}

/// Throws ShapeError unless the tensor is what the operation needs.
inline void require_tensor(const char* operation, const char* operand, const Tensor& tensor, const Shape& shape,
                           DataType type) {
  if (!(tensor.shape() == shape) || tensor.data_type() != type) {
    throw ShapeError(fmt::format("{}: {} is {} {}, expected {} {}", operation, operand, name_of(tensor.data_type()),
                                 tensor.shape().to_string(), name_of(type), shape.to_string()));
  }
}

/// Throws ShapeError unless sums of such features are a norm that the operation can divide by.
inline void require_norm(const char* operation, MemoryFeatures features) {
  if (features == MemoryFeatures::elu) return;
  throw ShapeError(fmt::format("{}: features of either sign, which have no norm to divide by", operation));
}

}  // namespace palimpsest
