#include "autograd/ops/memory_scan_pass.h"

#include <algorithm>
#include <utility>

namespace palimpsest {

SharedMemoryWrite::Pass::Pass(MemoryPool& pool, const SequenceGroup& group, const Variable& key,
                              const LayerMemory& initial, const HeadCounts& counts, MemoryRule rule,
                              const Variable& decay)
    : pool_(pool),
      group_(group),
      layout_(group.share->layout),
      key_(key),
      decay_(decay),
      initial_(initial),
      counts_(counts),
      rule_(rule),
      type_(key.data_type()),
      state_type_(accumulate_type(type_)),
      matrix_size_(layout_.lanes * counts.kv_heads * counts.head_size * counts.head_size),
      norm_size_(layout_.lanes * counts.kv_heads * counts.head_size) {
  require_tensor("SharedMemoryWrite", "key", key.value(),
                 Shape{layout_.lanes, layout_.tokens, counts.kv_heads * counts.head_size}, type_);
  const Shape matrix{layout_.lanes, counts.kv_heads, counts.head_size, counts.head_size};
  const Shape norm{layout_.lanes, counts.kv_heads, counts.head_size};
  require_tensor("SharedMemoryWrite", "initial matrix", initial.matrix.value(), matrix, state_type_);
  require_tensor("SharedMemoryWrite", "initial norm", initial.norm.value(), norm, state_type_);
  if (rule.delta) require_norm("SharedMemoryWrite", rule.features);
  if (decay.defined()) {
    require_tensor("SharedMemoryWrite", "decay", decay.value(), Shape{counts.kv_heads}, state_type_);
  }
  if (initial.matrix.requires_gradient() || initial.norm.requires_gradient()) {
    throw ShapeError("SharedMemoryWrite: no gradient flows into the initial state, which must be constant");
  }
}

Tensor SharedMemoryWrite::Pass::norms(std::int64_t slots) const {
  return Tensor(pool_, Shape{slots, layout_.lanes, counts_.kv_heads, counts_.head_size}, state_type_);
}
Tensor SharedMemoryWrite::Pass::matrices(std::int64_t slots) const {
  const Shape shape{slots, layout_.lanes, counts_.kv_heads, counts_.head_size, counts_.head_size};
  return Tensor(pool_, shape, state_type_);
}

void SharedMemoryWrite::Pass::begin_exchange(Tensor mine) {
  mine_ = std::move(mine);
  gathered_ = Tensor(pool_, Shape{group_.share->ranks, mine_.elements()}, state_type_);
  transfer_ = group_.ranks->begin_all_gather(std::as_const(mine_).raw(), gathered_.raw());
  if (!group_.overlaps) transfer_.wait();
}

void SharedMemoryWrite::Pass::wait() {
  transfer_.wait();
  mine_ = Tensor();
}

template <class A>
GatheredStates<A> SharedMemoryWrite::Pass::gathered_states() const {
  const std::int64_t stride = gathered_.elements() / group_.share->ranks;
  GatheredStates<A> all{.matrix = gathered_.data<A>(), .matrix_stride = stride};
  if (!delta()) {
    all.norm = all.matrix + matrix_size_;
    all.norm_stride = stride;
  }
  return all;
}

template <class A>
void SharedMemoryWrite::Pass::scan_forward(const GatheredStates<A>& gathered) {
  const auto wanted = [&](const State& state) {
    return State{gathered.matrix ? state.matrix : Tensor(), gathered.norm ? state.norm : Tensor()};
  };
  const State initial{initial_.matrix.value(), initial_.norm.value()};
  State before = wanted(before_), after = wanted(after_);
  memory_scan_forward<A>(pool_, *group_.share, gathered, shares<A>(), view<A>(initial), view<A>(before),
                         view<A>(after));
}

// Forward.

void SharedMemoryWrite::Pass::begin_norms() {
  State written{.matrix = {}, .norm = norms(1)};
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    memory_norm_forward<T>(layout_, rows<T>(key_), shares<A>(), view<A>(written));
  });
  begin_exchange(std::move(written.norm));
}

void SharedMemoryWrite::Pass::begin_states(const Variable& value) {
  require_tensor("SharedMemoryWrite", "value", value.value(), key_.shape(), type_);
  value_ = value;
  const std::int64_t segments = layout_.segments_per_lane;
  states_ = {matrices(segments + 1), norms(segments + 1)};
  before_ = {matrices(1), norms(1)};
  after_ = {matrices(1), norms(1)};
  State first = slot(states_, 0), last = slot(states_, segments);
  Tensor message(pool_, Shape{matrix_size_ + (delta() ? matrix_size_ : norm_size_)}, state_type_);
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    fill(first.matrix, 0.0);
    if (delta()) {
      scan_forward<A>({.norm = gathered_.data<A>(), .norm_stride = norm_size_});
      copy(before_.norm, first.norm);
    } else {
      fill(first.norm, 0.0);
    }
    memory_write_forward<T>(pool_, write_inputs<T>(), {.before = view<A>(states_), .after = view<A>(last)});
    A* const behind = std::ranges::copy(last.matrix.values<A>(), message.data<A>()).out;
    if (delta()) {
      transitions_ = {.matrix = matrices(segments + 1), .norm = {}};
      memory_transition_forward<T>(pool_, layout_, rows<T>(key_), rule_.epsilon, shares<A>(),
                                   view<A>(State{.matrix = {}, .norm = states_.norm}), view<A>(transitions_));
      std::ranges::copy(slot(transitions_, segments).matrix.values<A>(), behind);
    } else {
      std::ranges::copy(last.norm.values<A>(), behind);
    }
  });
  begin_exchange(std::move(message));
}

void SharedMemoryWrite::Pass::combine_states() {
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    GatheredStates<A> gathered = gathered_states<A>();
    if (delta()) {
      gathered.transition = gathered.matrix + matrix_size_;
      gathered.transition_stride = gathered.matrix_stride;
    }
    scan_forward<A>(gathered);
    // The norms of the delta rule have been right from the start.
    const State before{before_.matrix, delta() ? Tensor() : before_.norm};
    memory_carry_in<A>(pool_, layout_, shares<A>(), view<A>(before), view<A>(std::as_const(transitions_)),
                       view<A>(states_));
    transitions_ = {};
    if (delta()) keep_transitions<A>(gathered);
  });
  gathered_ = Tensor();
}

template <class A>
void SharedMemoryWrite::Pass::keep_transitions(const GatheredStates<A>& gathered) {
  all_transitions_ = Tensor(pool_, Shape{group_.share->ranks, matrix_size_}, state_type_);
  A* kept = all_transitions_.data<A>();
  for (int rank = 0; rank < group_.share->ranks; ++rank) {
    kept = std::copy_n(gathered.transition + rank * gathered.transition_stride, matrix_size_, kept);
  }
}

LayerMemory SharedMemoryWrite::Pass::states_before(bool records) {
  const std::int64_t segments = layout_.segments_per_lane;
  read_ = {Variable::result(states_.matrix.rows(0, segments), records),
           Variable::result(states_.norm.rows(0, segments), records)};
  return read_;
}

LayerMemory SharedMemoryWrite::Pass::state_after() const {
  return {Variable(after_.matrix.reshaped(initial_.matrix.shape())),
          Variable(after_.norm.reshaped(initial_.norm.shape()))};
}

// Backward.

void SharedMemoryWrite::Pass::begin_gradients() {
  // The tape drops the results' gradients as soon as this returns.
  const auto take = [](const Variable& v) { return v.has_gradient() ? v.take_gradient() : Tensor(); };
  d_read_ = {take(read_.matrix), take(read_.norm)};
  Tensor message(pool_, Shape{matrix_size_ + (delta() ? 0 : norm_size_)}, state_type_);
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    MemoryStates<A> d_first{message.data<A>(), nullptr, layout_.lanes, counts_.kv_heads, counts_.head_size};
    if (delta()) {
      memory_transition_backward<T>(pool_, layout_, rows<T>(key_), rule_.epsilon, shares<A>(),
                                    view<A>(State{.matrix = {}, .norm = states_.norm}), view<A>(std::as_const(d_read_)),
                                    d_first);
    } else {
      d_first.norm = d_first.matrix + matrix_size_;
      memory_sum_backward<A>(layout_, shares<A>(), view<A>(std::as_const(d_read_)), d_first);
    }
  });
  begin_exchange(std::move(message));
}

void SharedMemoryWrite::Pass::write_backward() {
  State d_after{matrices(1), delta() ? Tensor() : norms(1)};
  State d_first{.matrix = {}, .norm = delta() ? norms(1) : Tensor()};
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    GatheredStates<A> gathered = gathered_states<A>();
    if (delta()) {
      gathered.transition = all_transitions_.data<A>();
      gathered.transition_stride = matrix_size_;
    }
    memory_scan_backward<A>(pool_, *group_.share, gathered, shares<A>(), view<A>(d_after));
    auto d_decay = decay_.wanted_gradient(pool_);
    auto d_key = key_.wanted_gradient(pool_), d_value = value_.wanted_gradient(pool_);
    memory_write_backward<T>(pool_, write_inputs<T>(),
                             {.before = view<A>(std::as_const(states_)),
                              .d_read = view<A>(std::as_const(d_read_)),
                              .d_after = view<A>(std::as_const(d_after)),
                              .d_key = head_gradient<T>(d_key, counts_.kv_heads, counts_.head_size),
                              .d_value = head_gradient<T>(d_value, counts_.kv_heads, counts_.head_size),
                              .d_initial = {delta() ? view<A>(d_first) : MemoryStates<A>{}},
                              .d_decay = shares<A>(d_decay)});
  });
  gathered_ = Tensor();
  if (delta() && norm_wants_gradient()) begin_exchange(std::move(d_first.norm));
}

void SharedMemoryWrite::Pass::norm_backward() {
  State d_after{.matrix = {}, .norm = norms(1)};
  dispatch(type_, [&]<class T>() {
    using A = accumulate_t<T>;
    memory_scan_backward<A>(pool_, *group_.share, {.norm = gathered_.data<A>(), .norm_stride = norm_size_}, shares<A>(),
                            view<A>(d_after));
    auto d_key = key_.wanted_gradient(pool_), d_decay = decay_.wanted_gradient(pool_);
    if (d_key.wanted() && !d_key.accumulate) fill(d_key.view, 0.0);
    memory_norm_backward<T>(pool_, layout_, rows<T>(key_), shares<A>(),
                            view<A>(State{.matrix = {}, .norm = states_.norm}), view<A>(d_after),
                            d_key.wanted() ? rows<T>(d_key.view) : HeadRows<T>{}, shares<A>(d_decay));
  });
  gathered_ = Tensor();
}

}  // namespace palimpsest
