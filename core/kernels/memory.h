// The compressive memory of Infini-attention (Munkhdalai, Faruqui, Gopal 2024, section 2.1), over
// the segments of a SequenceLayout. Per lane and key/value head a matrix M (d, d; key, value) and a
// norm z (d), always in the accumulate type; sigma(x) = elu(x) + 1.
//
//   read    A_mem = sigma(Q) M / (sigma(Q) z + epsilon)
//   write   linear: M' = M + sigma(K)^T V
//           delta:  M' = M + sigma(K)^T (V - sigma(K) M / (sigma(K) z + epsilon))
//           both:   z' = z + sum over tokens of sigma(K)
//
// A token with write weight w (SequenceLayout::write_weights) writes what w repetitions of it would have written:
//
//           linear: M' = M + sum of w sigma(K)^T V,   z' = z + sum of w sigma(K)
//           delta:  M' = M + sum of w sigma(K)^T (V - sigma(K) M / (sigma(K) (z + e) + epsilon)),
//                   e = sum over the segment's tokens of max(w - 1, 0) sigma(K)
//
// so that where all of a segment weighs r >= 1, delta divides by what z is before the last of r repetitions, without
// which M would grow without bound. The excess e is never negative, or a light token would let a denominator fall below
// the plain rule's, even to zero; a token of weight 0 leaves no trace, and weights of 1 give the plain rule bit for
// bit.
//
// Keys and queries meet the memory as features phi(x), here sigma(x). With phi(x) = x, only linear and with the gain
// that follows, they may be of either sign, as in retention (Sun et al. 2023, arXiv 2307.08621); then z says nothing.
//
// With a gain G per query head and channel, a read is normalised by its own root mean square instead of by z:
//
//   read    A_mem = G N / sqrt(mean over channels of N^2 + epsilon),  N = phi(Q) M
//
// With a decay, a learned share a of each key/value head, a segment writes to a M and a z instead of M and z. Delta
// predicts from M and z as the segment finds them, and how much tokens weigh changes nothing about a: it counts
// segments.
//
// Keys and queries come without position. Slot s of a MemoryStates is the memory before segment s:
// a segment reads its slot and writes what the next one finds, so nothing is read that the segment itself wrote.
#pragma once

#include <cassert>
#include <cstdint>

#include "core/gradient.h"
#include "core/kernels/head_rows.h"
#include "core/kernels/memory_features.h"
#include "core/sequence_layout.h"
#include "core/tensor.h"

namespace palimpsest {

/// (slots, lanes, kv_heads, d, d) matrices and (slots, lanes, kv_heads, d) norms.
template <class A>
struct MemoryStates {
  A* matrix = nullptr;
  A* norm = nullptr;
  std::int64_t lanes = 0, kv_heads = 0, head_size = 0;

  explicit operator bool() const { return matrix != nullptr || norm != nullptr; }
  A* matrix_at(std::int64_t slot, std::int64_t lane, std::int64_t head) const {
    assert(matrix != nullptr && slot >= 0 && lane >= 0 && lane < lanes && head >= 0 && head < kv_heads);
    return matrix + ((slot * lanes + lane) * kv_heads + head) * head_size * head_size;
  }
  A* norm_at(std::int64_t slot, std::int64_t lane, std::int64_t head) const {
    assert(norm != nullptr && slot >= 0 && lane >= 0 && lane < lanes && head >= 0 && head < kv_heads);
    return norm + ((slot * lanes + lane) * kv_heads + head) * head_size;
  }
};

struct MemoryRule {
  bool delta = false;
  double epsilon = 1e-6;
  MemoryFeatures features = MemoryFeatures::elu;  // identity: not with delta
};

/// What both directions of reading take. Query head h reads key/value head h / (query heads / kv heads).
template <class T>
struct MemoryReadInputs {
  const SequenceLayout& layout;
  HeadRows<const T> query{};
  MemoryStates<const accumulate_t<T>> states{};  // one slot per segment
  double epsilon = 1e-6;
  const accumulate_t<T>* gain = nullptr;  // (query heads, d): normalised by the root mean square; null: by the norm
  MemoryFeatures features = MemoryFeatures::elu;  // identity: with a gain
};

template <class T>
struct MemoryReadGradients {
  HeadRows<const T> output{};  // forward's; not needed with a gain
  HeadRows<const T> d_output{};
  Gradient<HeadRows<T>> d_query{};
  Gradient<MemoryStates<accumulate_t<T>>> d_states{};  // as `states`; matrix and norm, or one of them
  Gradient<accumulate_t<T>*> d_gain{};                 // summed in an order that does not depend on the thread count
};

/// output <- A_mem where a token reads the memory, 0 elsewhere.
template <class T>
void memory_read_forward(MemoryPool& pool, const MemoryReadInputs<T>& in, HeadRows<T> output);

template <class T>
void memory_read_backward(MemoryPool& pool, const MemoryReadInputs<T>& in, const MemoryReadGradients<T>& gradients);

/// What both directions of writing take.
template <class T>
struct MemoryWriteInputs {
  const SequenceLayout& layout;
  HeadRows<const T> key{}, value{};
  MemoryRule rule{};
  const accumulate_t<T>* decay = nullptr;  // (kv_heads): the share of the memory that goes on; null: all of it
};

/// One slot per segment in `before`, of which slot 0 is given and the others are written; one slot in `after`, the
/// memory after the last segment.
template <class T>
struct MemoryWriteResult {
  MemoryStates<accumulate_t<T>> before{}, after{};
};

template <class T>
struct MemoryWriteGradients {
  MemoryStates<const accumulate_t<T>> before{};             // forward's
  MemoryStates<const accumulate_t<T>> d_read{}, d_after{};  // one slot per segment, what reads contributed, and one
                                                            // slot; either may be empty, or lack one of matrix and norm
  Gradient<HeadRows<T>> d_key{}, d_value{};
  Gradient<MemoryStates<accumulate_t<T>>> d_initial{};  // one slot; matrix and norm, or one of them
  Gradient<accumulate_t<T>*> d_decay{};                 // summed in an order that does not depend on the thread count
};

template <class T>
void memory_write_forward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteResult<T>& result);

/// Runs the recurrence backwards.
template <class T>
void memory_write_backward(MemoryPool& pool, const MemoryWriteInputs<T>& in, const MemoryWriteGradients<T>& gradients);

}  // namespace palimpsest
