// Causal softmax attention inside each span of a SequenceLayout: a token sees the tokens of its own document and
// segment up to itself, and the keys that the span says lie in front of it.
//
//   S = R(Q) R(K)^T / sqrt(d),  P = softmax(S),  A_dot = P V,  R: RoPE from the segment's start
//
// Backward computes P again from the saved log-sum-exp of each row (Dao et al. 2022, FlashAttention). The same in plain
// loops, to be read first: core/kernels/local_attention_reference.h.
#pragma once

#include "core/gradient.h"
#include "core/kernels/head_rows.h"
#include "core/kernels/rope.h"
#include "core/sequence_layout.h"
#include "core/tensor.h"

namespace palimpsest {

/// What both directions take. Query head h attends with key/value head h / (heads / kv_heads). Key and value may have
/// more rows than the query: `keys_in_front` in each lane before those of its own tokens, so that query row r of lane l
/// is the token of key row r + (l + 1) * keys_in_front. A span sees `Span::keys_before` of the rows directly in front
/// of its own, which must be there, and at most `Span::position` of them.
template <class T>
struct LocalAttentionInputs {
  const SequenceLayout& layout;
  const RotaryTable& rotary;
  HeadRows<const T> query{};         // (lanes * tokens, heads, d)
  HeadRows<const T> key{}, value{};  // (lanes * (keys_in_front + tokens), kv_heads, d)
  std::int64_t keys_in_front = 0;
};

template <class T>
struct LocalAttentionResult {
  HeadRows<T> output{};                    // as the query
  accumulate_t<T>* log_sum_exp = nullptr;  // (lanes * tokens, heads), for backward; null when there will be none
};

template <class T>
struct LocalAttentionGradients {
  HeadRows<const T> output{};  // forward's results
  const accumulate_t<T>* log_sum_exp = nullptr;
  HeadRows<const T> d_output{};
  Gradient<HeadRows<T>> d_query{}, d_key{}, d_value{};
  bool own_keys_only = false;  // a span's queries give nothing to the keys in front of its own
};

/// Every thread takes memory for the keys and values of one span and head.
template <class T>
void local_attention_forward(MemoryPool& pool, const LocalAttentionInputs<T>& in,
                             const LocalAttentionResult<T>& result);

/// The gradients of keys that no query sees are zero.
template <class T>
void local_attention_backward(MemoryPool& pool, const LocalAttentionInputs<T>& in,
                              const LocalAttentionGradients<T>& gradients);

}  // namespace palimpsest
