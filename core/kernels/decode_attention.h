// Infini-attention of a single token, for generation: the cached keys and values of its segment
// and the memory before it, joined by the gate, in one pass per head.
#pragma once

#include <cstdint>

#include "core/kernels/head_rows.h"
#include "core/kernels/memory.h"
#include "core/kernels/rope.h"

namespace palimpsest {

template <class T>
struct DecodeAttention {
  HeadRows<const T> query;                     // (1, heads, d), without position
  HeadRows<const T> rotated_keys, values;      // (segment_length, kv_heads, d), filled up to the token
  MemoryStates<const accumulate_t<T>> memory;  // one slot, one lane
  const accumulate_t<T>* beta = nullptr;       // (heads)
  double epsilon = 1e-6;
  bool reads_memory = false;              // whether the memory holds the token's document
  bool gated_without_memory = false;      // A = (1 - g) A_dot where it does not
  const accumulate_t<T>* gain = nullptr;  // (heads, d), as MemoryReadInputs has it
  bool adds = false;                      // A = A_dot + g A_mem
  std::int64_t first_key = 0;             // the token sees no keys before it
  MemoryFeatures features = MemoryFeatures::elu;
  /// What the memory is asked with, (1, heads or kv_heads, d) without position; none: the query.
  HeadRows<const T> memory_query{};
};

/// output (1, heads, d) of the token at `position`, which sees positions first_key ... position.
template <class T>
void decode_attention(MemoryPool& pool, const DecodeAttention<T>& inputs, std::int64_t position,
                      const RotaryTable& rotary, HeadRows<T> output);

}  // namespace palimpsest
