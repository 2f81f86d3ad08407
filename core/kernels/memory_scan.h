// The compressive memory across ranks that share a sequence: what each rank contributes on its own, and
// how the contributions combine (docs/communication.md, "Ranks that share a sequence").
//
// A rank's segments turn the memory before them into the memory after them by
//   z' = z + b,   M' = A M + B      where the memory passes through all of its segments in the lane,
//   z' = b,       M' = B            where one of them forgets it (a document starts),
// with b and B what the segments leave in a memory that was empty, and A = I for the linear rule. For the
// delta rule one segment has A_s = I - sigma(K)^T D^-1 sigma(K), D = diag(sigma(K) z + epsilon), which is
// symmetric (with write weights W, sigma(K)^T W D^-1 sigma(K) and z + e, core/kernels/memory.h, which is so as well),
// so the z before a rank's segments must be known before its A and B.
//
// With a decay a, of which functions take the values of all heads or null, z' = a z + b and A_s has a in place of the
// identity: a run of n segments lets a^n of z through and, for the linear rule, of M.
//
// The gradient goes back the same way: with C the gradient of the state before the rank's segments while
// nothing comes from behind them, dM = A^T dM' + C, and dz = a^n dz' + c.
#pragma once

#include <cstdint>

#include "core/kernels/memory.h"
#include "core/sequence_share.h"

namespace palimpsest {

/// What the ranks have gathered, each entry of shape (lanes, kv_heads, ...): rank r's stands at
/// data + r * stride. `matrix` is B or C, `norm` b or c, `transition` A or null for the identity; where
/// matrix or norm is null it is left out of the combination.
template <class A>
struct GatheredStates {
  const A* matrix = nullptr;
  const A* norm = nullptr;
  const A* transition = nullptr;
  std::int64_t matrix_stride = 0, norm_stride = 0, transition_stride = 0;
};

/// b: one slot of norms, the sum of sigma(K), each as often as its token writes, that the segments leave in an empty
/// memory.
template <class T>
void memory_norm_forward(const SequenceLayout& layout, HeadRows<const T> key, const accumulate_t<T>* decay,
                         MemoryStates<accumulate_t<T>> total);

/// Delta rule: slot s of `transitions` (matrices only, as many slots as `states`) <- the product of A_i of
/// the segments i < s, for as long as the memory reaches; the later slots are not written, but for the
/// last, which is zero then. `states` has the norms before each segment.
template <class T>
void memory_transition_forward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key, double epsilon,
                               const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                               MemoryStates<accumulate_t<T>> transitions);

/// Delta rule: C (one slot of matrices) from the gradients `d_read` of what each segment read.
template <class T>
void memory_transition_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key, double epsilon,
                                const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                                MemoryStates<const accumulate_t<T>> d_read, MemoryStates<accumulate_t<T>> d_first);

/// Linear rule: C and c (one slot), sums of `d_read` over the slots that the memory reaches, each with what the decay
/// leaves of it until there.
template <class A>
void memory_sum_backward(const SequenceLayout& layout, const A* decay, MemoryStates<const A> d_read,
                         MemoryStates<A> d_first);

/// From the state `initial` before the whole sequence and what every rank contributes: the state `before`
/// the share's segments and the state `after` those of the last rank (one slot each). A null matrix or norm
/// in `before` leaves it out, in `after` too.
template <class A>
void memory_scan_forward(MemoryPool& pool, const SequenceShare& share, const GatheredStates<A>& gathered,
                         const A* decay, MemoryStates<const A> initial, MemoryStates<A> before, MemoryStates<A> after);

/// The gradient `d_after` of the state after the share's segments (one slot), from what the ranks behind
/// contribute.
template <class A>
void memory_scan_backward(MemoryPool& pool, const SequenceShare& share, const GatheredStates<A>& gathered,
                          const A* decay, MemoryStates<A> d_after);

/// Adds what the state `before` the segments becomes to the slots of an empty memory's states that it
/// reaches: its matrix, times the slot's transition if there are any, and its norm; either may be null.
template <class A>
void memory_carry_in(MemoryPool& pool, const SequenceLayout& layout, const A* decay, MemoryStates<const A> before,
                     MemoryStates<const A> transitions, MemoryStates<A> states);

/// Adds the gradient `d_after` of the norm after the segments, which is overwritten, to the gradients of the keys that
/// are in it and of the decay that they went through; `states` has the norms before each segment.
template <class T>
void memory_norm_backward(MemoryPool& pool, const SequenceLayout& layout, HeadRows<const T> key,
                          const accumulate_t<T>* decay, MemoryStates<const accumulate_t<T>> states,
                          MemoryStates<accumulate_t<T>> d_after, HeadRows<T> d_key, Gradient<accumulate_t<T>*> d_decay);

}  // namespace palimpsest
