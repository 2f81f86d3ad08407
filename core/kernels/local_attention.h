// Causal softmax attention inside each span of a SequenceLayout: a token sees the tokens of its own
// document and segment up to itself. Rows of queries are taken a tile at a time against the keys up
// to the diagonal, so a (tokens, tokens) matrix never exists and nothing above the diagonal or
// outside the document is computed, but for the corner of the diagonal's tile.
//
//   S = R(Q) R(K)^T / sqrt(d),  P = softmax(S),  A_dot = P V,  R: RoPE from the segment's start
//
// Backward computes P again from the saved log-sum-exp of each row (Dao et al. 2022, FlashAttention).
#pragma once

#include "core/kernels/head_rows.h"
#include "core/kernels/rope.h"
#include "core/sequence_layout.h"
#include "core/tensor.h"

namespace palimpsest {

/// query and output: (rows, heads, d); key and value: (rows, kv_heads, d); query head h attends with
/// key/value head h / (heads / kv_heads). `log_sum_exp` (rows, heads) receives what backward needs;
/// it may be null when there will be none.
template <class T>
void local_attention_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                             HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                             HeadRows<T> output, accumulate_t<T>* log_sum_exp);

/// Where backward writes one input's gradient, and whether it adds to what is there.
template <class T>
struct HeadGradient {
  HeadRows<T> rows;
  bool accumulate = false;
};

template <class T>
void local_attention_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                              HeadRows<const T> key, HeadRows<const T> value, const RotaryTable& table,
                              HeadRows<const T> output, const accumulate_t<T>* log_sum_exp, HeadRows<const T> d_output,
                              HeadGradient<T> d_query, HeadGradient<T> d_key, HeadGradient<T> d_value);

}  // namespace palimpsest
