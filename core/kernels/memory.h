// The compressive memory of Infini-attention (Munkhdalai, Faruqui, Gopal 2024, section 2.1), over
// the segments of a SequenceLayout. Per lane and key/value head a matrix M (d, d; key, value) and a
// norm z (d), always in the accumulate type; sigma(x) = elu(x) + 1.
//
//   read    A_mem = sigma(Q) M / (sigma(Q) z + epsilon)
//   write   linear: M' = M + sigma(K)^T V
//           delta:  M' = M + sigma(K)^T (V - sigma(K) M / (sigma(K) z + epsilon))
//           both:   z' = z + sum over tokens of sigma(K)
//
// Keys and queries come without position. Slot s of a MemoryStates is the memory before segment s:
// a segment reads its slot and writes what the next one finds, so nothing is read that the segment itself wrote.
#pragma once

#include <cstdint>

#include "core/kernels/head_rows.h"
#include "core/sequence_layout.h"
#include "core/tensor.h"

namespace palimpsest {

/// (slots, lanes, kv_heads, d, d) matrices and (slots, lanes, kv_heads, d) norms.
template <class A>
struct MemoryStates {
  A* matrix = nullptr;
  A* norm = nullptr;
  std::int64_t lanes = 0, kv_heads = 0, head_size = 0;

  A* matrix_at(std::int64_t slot, std::int64_t lane, std::int64_t head) const {
    return matrix + ((slot * lanes + lane) * kv_heads + head) * head_size * head_size;
  }
  A* norm_at(std::int64_t slot, std::int64_t lane, std::int64_t head) const {
    return norm + ((slot * lanes + lane) * kv_heads + head) * head_size;
  }
};

struct MemoryRule {
  bool delta = false;
  double epsilon = 1e-6;
};

/// output <- A_mem where a token reads the memory, 0 elsewhere. Query head h reads key/value head
/// h / (query heads / kv heads).
template <class T>
void memory_read_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                         MemoryStates<const accumulate_t<T>> states, double epsilon, HeadRows<T> output);

/// Gradients of the query and of the state that each segment read, added where asked, else written.
template <class T>
void memory_read_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> query,
                          MemoryStates<const accumulate_t<T>> states, double epsilon, HeadRows<const T> output,
                          HeadRows<const T> d_output, HeadRows<T> d_query, bool accumulate_query,
                          MemoryStates<accumulate_t<T>> d_states, bool accumulate_states);

/// From slot 0 of `states`, the memory before the first segment: the slots 1 ... segments - 1, and `after` (one slot),
/// the memory after the last segment.
template <class T>
void memory_write_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                          HeadRows<const T> value, MemoryRule rule, MemoryStates<accumulate_t<T>> states,
                          MemoryStates<accumulate_t<T>> after);

/// Runs the recurrence backwards. `d_read` holds one slot per segment (what the reads contributed)
/// and `d_final` one slot; either may be empty. `d_initial` (one slot) is overwritten if given.
template <class T>
void memory_write_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                           HeadRows<const T> value, MemoryRule rule, MemoryStates<const accumulate_t<T>> states,
                           MemoryStates<const accumulate_t<T>> d_read, MemoryStates<const accumulate_t<T>> d_final,
                           HeadRows<T> d_key, bool accumulate_key, HeadRows<T> d_value, bool accumulate_value,
                           MemoryStates<accumulate_t<T>> d_initial);

}  // namespace palimpsest
