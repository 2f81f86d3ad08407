#include "autograd/ops/memory_scan.h"

#include <utility>

#include "autograd/ops/head_views.h"
#include "core/kernels/memory_scan.h"

namespace palimpsest {

namespace {

/// The name under which a profile shows the time spent waiting for other ranks.
constexpr std::string_view exchange_family = "memory exchange";

Shape norms_shape(std::int64_t slots, const SequenceLayout& layout, const HeadCounts& c) {
  return {slots, layout.lanes, c.kv_heads, c.head_size};
}
Shape matrices_shape(std::int64_t slots, const SequenceLayout& layout, const HeadCounts& c) {
  return {slots, layout.lanes, c.kv_heads, c.head_size, c.head_size};
}

/// Something that backward does when an entry recorded later asks for it: there is no gradient to say so.
class Turn {
 public:
  void record(Tape& tape, std::function<void()> backward) {
    asked_ = Variable::result(Tensor(tape.pool(), Shape{1}, DataType::float32), true);
    tape.record({asked_}, std::move(backward));
  }
  void ask(MemoryPool& pool) const {
    auto target = asked_.gradient_target(pool);
    fill(target.view, 1.0);
  }

 private:
  Variable asked_;
};

}  // namespace

/// One layer's write on this rank. Every method that begins an exchange is followed by one that ends it.
class SharedMemoryWrite::Pass {
 public:
  Pass(MemoryPool& pool, const SequenceGroup& group, const Variable& key, const LayerMemory& initial,
       const HeadCounts& counts, MemoryRule rule)
      : pool_(pool),
        group_(group),
        layout_(group.share->layout),
        key_(key),
        initial_(initial),
        counts_(counts),
        rule_(rule),
        type_(key.data_type()),
        state_type_(accumulate_type(type_)),
        segments_(layout_.segments_per_lane),
        matrix_size_(layout_.lanes * counts.kv_heads * counts.head_size * counts.head_size),
        norm_size_(layout_.lanes * counts.kv_heads * counts.head_size) {
    require_tensor("SharedMemoryWrite", "key", key.value(),
                   Shape{layout_.lanes, layout_.tokens, counts.kv_heads * counts.head_size}, type_);
    const Shape matrix{layout_.lanes, counts.kv_heads, counts.head_size, counts.head_size};
    const Shape norm{layout_.lanes, counts.kv_heads, counts.head_size};
    require_tensor("SharedMemoryWrite", "initial matrix", initial.matrix.value(), matrix, state_type_);
    require_tensor("SharedMemoryWrite", "initial norm", initial.norm.value(), norm, state_type_);
    if (initial.matrix.requires_gradient() || initial.norm.requires_gradient()) {
      throw ShapeError("SharedMemoryWrite: no gradient flows into the initial state, which must be constant");
    }
  }

  MemoryPool& pool() { return pool_; }
  bool delta() const { return rule_.delta; }
  const Variable& key() const { return key_; }

  // Forward.

  void begin_norms() {
    mine_ = Tensor(pool_, norms_shape(1, layout_, counts_), state_type_);
    dispatch(type_, [&]<class T>() {
      memory_norm_forward<T>(layout_, keys<T>(), memory_states<accumulate_t<T>>(none_, mine_, layout_.lanes, counts_));
    });
    begin_exchange();
  }

  void begin_states(const Variable& value) {
    require_tensor("SharedMemoryWrite", "value", value.value(), key_.shape(), type_);
    value_ = value;
    matrices_ = Tensor(pool_, matrices_shape(segments_ + 1, layout_, counts_), state_type_);
    norms_ = Tensor(pool_, norms_shape(segments_ + 1, layout_, counts_), state_type_);
    before_ = one_state();
    after_ = one_state();
    Tensor first_matrix = matrices_.rows(0, 1), first_norm = norms_.rows(0, 1);
    fill(first_matrix, 0.0);
    dispatch(type_, [&]<class T>() {
      using A = accumulate_t<T>;
      if (delta()) {
        scan_forward<A>({.norm = all_.data<A>(), .norm_stride = norm_size_});
        copy(before_.norm, first_norm);
      } else {
        fill(first_norm, 0.0);
      }
      Tensor last_matrix = matrices_.rows(segments_, segments_ + 1), last_norm = norms_.rows(segments_, segments_ + 1);
      memory_write_forward<T>(pool_, write_inputs<T>(),
                              {.before = states<A>(matrices_, norms_), .after = states<A>(last_matrix, last_norm)});
      mine_ = Tensor(pool_, Shape{matrix_size_ + (delta() ? matrix_size_ : norm_size_)}, state_type_);
      A* const message = mine_.data<A>();
      std::copy_n(last_slot<A>(matrices_, matrix_size_), matrix_size_, message);
      if (delta()) {
        transitions_ = Tensor(pool_, matrices_.shape(), state_type_);
        memory_transition_forward<T>(pool_, layout_, keys<T>(), rule_.epsilon, const_states<A>(Tensor(), norms_),
                                     states<A>(transitions_, none_));
        std::copy_n(last_slot<A>(transitions_, matrix_size_), matrix_size_, message + matrix_size_);
      } else {
        std::copy_n(last_slot<A>(norms_, norm_size_), norm_size_, message + matrix_size_);
      }
    });
    begin_exchange();
  }

  void combine_states() {
    dispatch(type_, [&]<class T>() {
      using A = accumulate_t<T>;
      const A* const gathered = all_.data<A>();
      const std::int64_t stride = all_.elements() / group_.share->ranks;
      GatheredStates<A> parts{.matrix = gathered, .matrix_stride = stride};
      if (delta()) {
        parts.transition = gathered + matrix_size_;
        parts.transition_stride = stride;
      } else {
        parts.norm = gathered + matrix_size_;
        parts.norm_stride = stride;
      }
      scan_forward<A>(parts);
      // The norms of the delta rule have been right from the start.
      memory_carry_in<A>(pool_, layout_, const_states<A>(before_.matrix, delta() ? Tensor() : before_.norm),
                         const_states<A>(transitions_, Tensor()), states<A>(matrices_, norms_));
      transitions_ = Tensor();
      if (delta()) keep_transitions<A>(stride);
    });
    all_ = Tensor();
  }

  LayerMemory states_before(bool records) {
    read_ = {Variable::result(matrices_.rows(0, segments_), records),
             Variable::result(norms_.rows(0, segments_), records)};
    return read_;
  }
  LayerMemory state_after() const {
    return {Variable(after_.matrix.reshaped(initial_.matrix.shape())),
            Variable(after_.norm.reshaped(initial_.norm.shape()))};
  }

  // Backward.

  void begin_gradients() {
    // The tape drops the results' gradients as soon as this returns.
    const auto take = [](const Variable& v) { return v.has_gradient() ? v.take_gradient() : Tensor(); };
    d_read_ = {take(read_.matrix), take(read_.norm)};
    mine_ = Tensor(pool_, Shape{matrix_size_ + (delta() ? 0 : norm_size_)}, state_type_);
    dispatch(type_, [&]<class T>() {
      using A = accumulate_t<T>;
      A* const message = mine_.data<A>();
      const MemoryStates<A> first{message, delta() ? nullptr : message + matrix_size_, layout_.lanes, counts_.kv_heads,
                                  counts_.head_size};
      if (delta()) {
        memory_transition_backward<T>(pool_, layout_, keys<T>(), rule_.epsilon, const_states<A>(Tensor(), norms_),
                                      const_states<A>(d_read_.matrix, d_read_.norm), first);
      } else {
        memory_sum_backward<A>(layout_, const_states<A>(d_read_.matrix, d_read_.norm), first);
      }
    });
    begin_exchange();
  }

  void write_backward() {
    const State d_after = one_state();
    dispatch(type_, [&]<class T>() {
      using A = accumulate_t<T>;
      const A* const gathered = all_.data<A>();
      const std::int64_t stride = all_.elements() / group_.share->ranks;
      GatheredStates<A> parts{.matrix = gathered, .matrix_stride = stride};
      Tensor matrix = d_after.matrix, norm = d_after.norm;
      if (delta()) {
        parts.transition = all_transitions_.data<A>();
        parts.transition_stride = matrix_size_;
        norm = Tensor();
        mine_ = Tensor(pool_, norms_shape(1, layout_, counts_), state_type_);
      } else {
        parts.norm = gathered + matrix_size_;
        parts.norm_stride = stride;
      }
      memory_scan_backward<A>(pool_, *group_.share, parts, states<A>(matrix, norm));
      auto d_key = key_.wanted_gradient(pool_), d_value = value_.wanted_gradient(pool_);
      memory_write_backward<T>(pool_, write_inputs<T>(),
                               {.before = const_states<A>(matrices_, norms_),
                                .d_read = const_states<A>(d_read_.matrix, d_read_.norm),
                                .d_after = const_states<A>(matrix, norm),
                                .d_key = head_gradient<T>(d_key, counts_.kv_heads, counts_.head_size),
                                .d_value = head_gradient<T>(d_value, counts_.kv_heads, counts_.head_size),
                                .d_initial = {delta() ? states<A>(none_, mine_) : MemoryStates<A>{}}});
    });
    all_ = Tensor();
    if (delta()) begin_exchange();
  }

  /// Delta rule: the gradients of the norm that the ranks behind have found.
  void norm_backward() {
    dispatch(type_, [&]<class T>() {
      using A = accumulate_t<T>;
      Tensor d_norm(pool_, norms_shape(1, layout_, counts_), state_type_);
      memory_scan_backward<A>(pool_, *group_.share, {.norm = all_.data<A>(), .norm_stride = norm_size_},
                              states<A>(none_, d_norm));
      auto d_key = key_.gradient_target(pool_);
      if (!d_key.accumulate) fill(d_key.view, 0.0);
      memory_norm_backward<T>(layout_, keys<T>(), const_states<A>(Tensor(), d_norm),
                              head_rows<T>(d_key.view, counts_.kv_heads, counts_.head_size));
    });
    all_ = Tensor();
  }

  void wait() {
    transfer_.wait();
    mine_ = Tensor();
  }

  Turn write_turn, exchange_turn, norm_turn, norm_exchange_turn;

 private:
  struct State {
    Tensor matrix, norm;
  };
  State one_state() {
    return {Tensor(pool_, matrices_shape(1, layout_, counts_), state_type_),
            Tensor(pool_, norms_shape(1, layout_, counts_), state_type_)};
  }

  void begin_exchange() {
    all_ = Tensor(pool_, Shape{group_.share->ranks, mine_.elements()}, state_type_);
    transfer_ = group_.ranks->begin_all_gather(std::as_const(mine_).raw(), all_.raw());
    if (!group_.overlaps) transfer_.wait();
  }

  template <class A>
  void scan_forward(const GatheredStates<A>& parts) {
    const auto view = [&](State& s) { return states<A>(parts.matrix ? s.matrix : none_, parts.norm ? s.norm : none_); };
    memory_scan_forward<A>(pool_, *group_.share, parts, const_states<A>(initial_.matrix.value(), initial_.norm.value()),
                           view(before_), view(after_));
  }

  /// The transitions of all ranks, which backward needs again.
  template <class A>
  void keep_transitions(std::int64_t stride) {
    all_transitions_ = Tensor(pool_, Shape{group_.share->ranks, matrix_size_}, state_type_);
    for (int rank = 0; rank < group_.share->ranks; ++rank) {
      std::copy_n(std::as_const(all_).data<A>() + rank * stride + matrix_size_, matrix_size_,
                  all_transitions_.data<A>() + rank * matrix_size_);
    }
  }

  template <class T>
  HeadRows<const T> keys() const {
    return head_rows<T>(key_.value(), counts_.kv_heads, counts_.head_size);
  }
  template <class T>
  HeadRows<const T> values() const {
    return head_rows<T>(value_.value(), counts_.kv_heads, counts_.head_size);
  }
  template <class T>
  MemoryWriteInputs<T> write_inputs() const {
    return {.layout = layout_, .key = keys<T>(), .value = values<T>(), .rule = rule_};
  }
  template <class A>
  MemoryStates<A> states(Tensor& matrix, Tensor& norm) const {
    return memory_states<A>(matrix, norm, layout_.lanes, counts_);
  }
  template <class A>
  MemoryStates<const A> const_states(const Tensor& matrix, const Tensor& norm) const {
    return memory_states<A>(matrix, norm, layout_.lanes, counts_);
  }
  template <class A>
  const A* last_slot(const Tensor& slots, std::int64_t size) const {
    return slots.data<A>() + segments_ * size;
  }

  MemoryPool& pool_;
  SequenceGroup group_;
  const SequenceLayout& layout_;
  Variable key_, value_;
  LayerMemory initial_;
  HeadCounts counts_;
  MemoryRule rule_;
  DataType type_, state_type_;
  std::int64_t segments_, matrix_size_, norm_size_;  // sizes of one slot
  Tensor none_;                                      // undefined: an empty view
  Tensor matrices_, norms_;                          // (segments + 1, lanes, kv_heads, ...)
  Tensor transitions_;                               // the same, until combined
  Tensor all_transitions_;                           // (ranks, ...), for backward
  State before_, after_;
  LayerMemory read_;   // the results whose gradients come back
  State d_read_;       // those gradients
  Tensor mine_, all_;  // of the exchange that is under way
  Transfer transfer_;  // ends before its buffers do
};

SharedMemoryWrite::SharedMemoryWrite(Tape& tape, const SequenceGroup& group, const Variable& key,
                                     const LayerMemory& initial, const HeadCounts& counts, MemoryRule rule)
    : tape_(tape), pass_(std::make_shared<Pass>(tape.pool(), group, key, initial, counts, rule)) {
  if (!pass_->delta()) return;
  const OperatorScope scope(tape, "memory");
  pass_->begin_norms();
  if (!tape.records({key})) return;
  pass_->norm_turn.record(tape, [pass = pass_] { pass->norm_backward(); });
  const OperatorScope waiting(tape, exchange_family);
  pass_->norm_exchange_turn.record(tape, [pass = pass_] {
    pass->wait();
    pass->norm_turn.ask(pass->pool());
  });
}

void SharedMemoryWrite::start(const Variable& value) {
  if (pass_->delta()) {
    const OperatorScope waiting(tape_, exchange_family);
    pass_->wait();
  }
  const OperatorScope scope(tape_, "memory");
  pass_->begin_states(value);
  records_ = tape_.records({pass_->key(), value});
  if (!records_) return;
  pass_->write_turn.record(tape_, [pass = pass_] {
    pass->write_backward();
    if (pass->delta()) pass->norm_exchange_turn.ask(pass->pool());
  });
  const OperatorScope waiting(tape_, exchange_family);
  pass_->exchange_turn.record(tape_, [pass = pass_] {
    pass->wait();
    pass->write_turn.ask(pass->pool());
  });
}

MemoryWrite SharedMemoryWrite::finish() {
  {
    const OperatorScope waiting(tape_, exchange_family);
    pass_->wait();
  }
  const OperatorScope scope(tape_, "memory");
  pass_->combine_states();
  const MemoryWrite result{pass_->states_before(records_), pass_->state_after()};
  if (records_) {
    tape_.record({result.before.matrix, result.before.norm}, [pass = pass_] {
      pass->begin_gradients();
      pass->exchange_turn.ask(pass->pool());
    });
  }
  return result;
}

}  // namespace palimpsest
