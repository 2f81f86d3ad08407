// The arithmetic and the exchanges of a SharedMemoryWrite, in the order in which they happen. Whatever begins an
// exchange is followed by `wait` and by the step that uses what has come.
#pragma once

#include <utility>

#include "autograd/ops/head_views.h"
#include "autograd/ops/memory_scan.h"
#include "core/kernels/memory_scan.h"

namespace palimpsest {

/// One layer's write on this rank. core/kernels/memory_scan.h has the equations, and the names: b, B and A are what a
/// rank's segments leave in an empty memory and what they do to a full one; c and C their gradients.
class SharedMemoryWrite::Pass {
 public:
  Pass(MemoryPool& pool, const SequenceGroup& group, const Variable& key, const LayerMemory& initial,
       const HeadCounts& counts, MemoryRule rule, const Variable& decay);

  bool delta() const { return rule_.delta; }
  const Variable& key() const { return key_; }
  const Variable& decay() const { return decay_; }
  /// Whether backward has to know what the norms of segments behind have found.
  bool norm_wants_gradient() const { return key_.requires_gradient() || decay_.requires_gradient(); }

  // Forward.

  /// Delta rule: begins the exchange of b.
  void begin_norms();
  /// Begins the exchange of B and A (delta), or B and b (linear).
  void begin_states(const Variable& value);
  /// From which follow the states before this rank's segments and after those of the last rank.
  void combine_states();
  LayerMemory states_before(bool records);
  LayerMemory state_after() const;

  // Backward.

  /// Takes the gradients of `states_before` and begins the exchange of C (delta), or C and c (linear).
  void begin_gradients();
  /// Adds to the gradients of key and value. Delta rule: begins the exchange of c.
  void write_backward();
  /// Delta rule: adds to the key's gradient what the ranks behind have found for the norm.
  void norm_backward();

  /// Ends the exchange that is under way.
  void wait();

 private:
  struct State {
    Tensor matrix, norm;  // undefined: left out
  };
  Tensor norms(std::int64_t slots) const;     // (slots, lanes, kv_heads, head_size)
  Tensor matrices(std::int64_t slots) const;  // (slots, lanes, kv_heads, head_size, head_size)
  static State slot(const State& states, std::int64_t index) {
    const auto one = [&](const Tensor& all) { return all.defined() ? all.rows(index, index + 1) : Tensor(); };
    return {one(states.matrix), one(states.norm)};
  }
  void begin_exchange(Tensor mine);
  /// What the exchange has brought of every rank: a matrix, and for the linear rule a norm behind it.
  template <class A>
  GatheredStates<A> gathered_states() const;
  /// Of what is gathered: the states before this rank's segments and after the last rank's.
  template <class A>
  void scan_forward(const GatheredStates<A>& gathered);
  /// For backward.
  template <class A>
  void keep_transitions(const GatheredStates<A>& gathered);

  template <class T>
  HeadRows<const T> rows(const Variable& activations) const {
    return head_rows<T>(activations.value(), counts_.kv_heads, counts_.head_size);
  }
  template <class T>
  HeadRows<T> rows(Tensor& gradient) const {
    return head_rows<T>(gradient, counts_.kv_heads, counts_.head_size);
  }
  template <class T>
  MemoryWriteInputs<T> write_inputs() const {
    return {.layout = layout_,
            .key = rows<T>(key_),
            .value = rows<T>(value_),
            .rule = rule_,
            .decay = shares<accumulate_t<T>>()};
  }
  /// What goes on of each head's memory from segment to segment; null: all of it.
  template <class A>
  const A* shares() const {
    return decay_.defined() ? decay_.value().data<A>() : nullptr;
  }
  template <class A>
  static Gradient<A*> shares(Gradient<Tensor>& gradient) {
    if (!gradient.wanted()) return {};
    return {gradient.view.data<A>(), gradient.accumulate};
  }
  template <class A>
  MemoryStates<A> view(State& state) const {
    return memory_states<A>(state.matrix, state.norm, layout_.lanes, counts_);
  }
  template <class A>
  MemoryStates<const A> view(const State& state) const {
    return memory_states<A>(state.matrix, state.norm, layout_.lanes, counts_);
  }

  MemoryPool& pool_;
  SequenceGroup group_;
  const SequenceLayout& layout_;
  Variable key_, value_, decay_;
  LayerMemory initial_;
  HeadCounts counts_;
  MemoryRule rule_;
  DataType type_, state_type_;
  std::int64_t matrix_size_, norm_size_;  // of one slot

  State states_;            // (segments + 1, lanes, kv_heads, ...)
  State transitions_;       // the same, matrices only, until combined
  Tensor all_transitions_;  // of all ranks
  State before_, after_;    // one slot
  LayerMemory read_;        // the results whose gradients come back
  State d_read_;            // those gradients
  Tensor mine_, gathered_;  // of the exchange that is under way
  Transfer transfer_;       // ends before its buffers do
};

}  // namespace palimpsest
