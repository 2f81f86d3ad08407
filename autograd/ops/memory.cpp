#include "autograd/ops/memory.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/ops/head_views.h"

namespace palimpsest {

namespace {

Shape activation_shape(const SequenceLayout& layout, std::int64_t heads, const HeadCounts& counts) {
  return {layout.lanes, layout.tokens, heads * counts.head_size};
}

Shape matrix_shape(std::int64_t slots, const SequenceLayout& layout, const HeadCounts& c) {
  return {slots, layout.lanes, c.kv_heads, c.head_size, c.head_size};
}

Shape norm_shape(std::int64_t slots, const SequenceLayout& layout, const HeadCounts& c) {
  return {slots, layout.lanes, c.kv_heads, c.head_size};
}

/// Room for the states before all segments, of which the first is `initial`: itself, if it is the only one, since
/// nothing writes to it.
Tensor before_segments(MemoryPool& pool, const Tensor& initial, const Shape& slots) {
  if (slots[0] == 1) return initial.reshaped(slots);
  Tensor states(pool, slots, initial.data_type());
  Tensor first = states.rows(0, 1).reshaped(initial.shape());
  copy(initial, first);
  return states;
}

std::array<GradientSlot, 2> slots_of(const LayerMemory& memory) {
  return {memory.matrix.gradient_slot(), memory.norm.gradient_slot()};
}

/// Where the gradients of a memory go: both are added to, or both overwritten.
class StateGradient {
 public:
  StateGradient(MemoryPool& pool, const LayerMemory& memory, bool of_norm = true)
      : matrix_(memory.matrix.wanted_gradient(pool)),
        norm_(of_norm ? memory.norm.wanted_gradient(pool) : Gradient<Tensor>{}) {
    adds_ = matrix_.accumulate || norm_.accumulate;
    for (Gradient<Tensor>* gradient : {&matrix_, &norm_}) {
      if (adds_ && gradient->wanted() && !gradient->accumulate) fill(gradient->view, 0.0);
    }
  }
  template <class A>
  Gradient<MemoryStates<A>> view(std::int64_t lanes, const HeadCounts& counts) {
    return {memory_states<A>(matrix_.view, norm_.view, lanes, counts), adds_};
  }

 private:
  Gradient<Tensor> matrix_, norm_;
  bool adds_ = false;
};

Shape without_slots(const Shape& shape) { return Shape(shape.extents().subspan(1)); }

}  // namespace

MemoryWrite memory_write(Tape& tape, const Variable& key, const Variable& value, const LayerMemory& initial,
                         const LayoutPointer& layout, const HeadCounts& counts, MemoryRule rule,
                         const Variable& decay) {
  const OperatorScope scope(tape, "memory");
  const DataType type = key.data_type(), state_type = accumulate_type(type);
  const std::int64_t segments = layout->segments_per_lane, lanes = layout->lanes;
  const Shape one_matrix = without_slots(matrix_shape(1, *layout, counts));
  const Shape one_norm = without_slots(norm_shape(1, *layout, counts));
  require_tensor("memory_write", "key", key.value(), activation_shape(*layout, counts.kv_heads, counts), type);
  require_tensor("memory_write", "value", value.value(), key.shape(), type);
  require_tensor("memory_write", "initial matrix", initial.matrix.value(), one_matrix, state_type);
  require_tensor("memory_write", "initial norm", initial.norm.value(), one_norm, state_type);
  if (rule.delta) require_norm("memory_write", rule.features);
  if (decay.defined()) require_tensor("memory_write", "decay", decay.value(), Shape{counts.kv_heads}, state_type);

  Tensor matrices = before_segments(tape.pool(), initial.matrix.value(), matrix_shape(segments, *layout, counts));
  Tensor norms = before_segments(tape.pool(), initial.norm.value(), norm_shape(segments, *layout, counts));
  Tensor last_matrix(tape.pool(), one_matrix, state_type), last_norm(tape.pool(), one_norm, state_type);
  const auto inputs = [key, value, layout, counts, rule, decay]<class T>() {
    return MemoryWriteInputs<T>{.layout = *layout,
                                .key = head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
                                .value = head_rows<T>(value.value(), counts.kv_heads, counts.head_size),
                                .rule = rule,
                                .decay = decay.defined() ? decay.value().template data<accumulate_t<T>>() : nullptr};
  };
  dispatch(type, [&]<class T>() {
    memory_write_forward<T>(tape.pool(), inputs.template operator()<T>(),
                            {.before = memory_states<accumulate_t<T>>(matrices, norms, lanes, counts),
                             .after = memory_states<accumulate_t<T>>(last_matrix, last_norm, lanes, counts)});
  });

  const bool records = tape.records({key, value, initial.matrix, initial.norm, decay});
  MemoryWrite result{
      {Variable::result(matrices, records), Variable::result(norms, records)},
      {Variable::result(std::move(last_matrix), records), Variable::result(std::move(last_norm), records)}};
  if (!records) return result;

  tape.record({result.before.matrix, result.before.norm, result.after.matrix, result.after.norm},
              [&pool = tape.pool(), inputs, key, value, initial, lanes, counts, decay, matrices, norms,
               d_before = slots_of(result.before), d_after = slots_of(result.after)] {
                dispatch(key.data_type(), [&]<class T>() {
                  using A = accumulate_t<T>;
                  auto d_key = key.wanted_gradient(pool), d_value = value.wanted_gradient(pool);
                  auto d_decay = decay.wanted_gradient(pool);
                  StateGradient d_initial(pool, initial);
                  memory_write_backward<T>(
                      pool, inputs.template operator()<T>(),
                      {.before = memory_states<A>(matrices, norms, lanes, counts),
                       .d_read = memory_states<A>(d_before[0].tensor(), d_before[1].tensor(), lanes, counts),
                       .d_after = memory_states<A>(d_after[0].tensor(), d_after[1].tensor(), lanes, counts),
                       .d_key = head_gradient<T>(d_key, counts.kv_heads, counts.head_size),
                       .d_value = head_gradient<T>(d_value, counts.kv_heads, counts.head_size),
                       .d_initial = d_initial.view<A>(lanes, counts),
                       .d_decay = {d_decay.wanted() ? d_decay.view.template data<A>() : nullptr, d_decay.accumulate}});
                });
              });
  return result;
}

Variable memory_read(Tape& tape, const Variable& query, const LayerMemory& before, const LayoutPointer& layout,
                     const HeadCounts& counts, double epsilon, const Variable& gain, MemoryFeatures features) {
  const OperatorScope scope(tape, "memory");
  const DataType type = query.data_type(), state_type = accumulate_type(type);
  const std::int64_t segments = layout->segments_per_lane, lanes = layout->lanes;
  require_tensor("memory_read", "query", query.value(), activation_shape(*layout, counts.heads, counts), type);
  require_tensor("memory_read", "matrix", before.matrix.value(), matrix_shape(segments, *layout, counts), state_type);
  require_tensor("memory_read", "norm", before.norm.value(), norm_shape(segments, *layout, counts), state_type);
  if (gain.defined()) {
    require_tensor("memory_read", "gain", gain.value(), Shape{counts.heads, counts.head_size}, state_type);
  } else {
    require_norm("memory_read", features);
  }

  const auto inputs = [query, before, layout, counts, epsilon, gain, features]<class T>() {
    return MemoryReadInputs<T>{
        .layout = *layout,
        .query = head_rows<T>(query.value(), counts.heads, counts.head_size),
        .states = memory_states<accumulate_t<T>>(before.matrix.value(), before.norm.value(), layout->lanes, counts),
        .epsilon = epsilon,
        .gain = gain.defined() ? gain.value().template data<accumulate_t<T>>() : nullptr,
        .features = features};
  };
  Tensor output(tape.pool(), query.shape(), type);
  dispatch(type, [&]<class T>() {
    memory_read_forward<T>(tape.pool(), inputs.template operator()<T>(),
                           head_rows<T>(output, counts.heads, counts.head_size));
  });
  const bool by_gain = gain.defined();
  const bool records = tape.records({query, before.matrix, by_gain ? gain : before.norm});
  Variable result = Variable::result(output, records);
  if (!records) return result;

  tape.record({result}, [&pool = tape.pool(), inputs, query, before, lanes, counts, gain, by_gain, result] {
    dispatch(query.data_type(), [&]<class T>() {
      using A = accumulate_t<T>;
      auto d_query = query.wanted_gradient(pool);
      auto d_gain = gain.wanted_gradient(pool);
      StateGradient d_before(pool, before, !by_gain);
      memory_read_backward<T>(
          pool, inputs.template operator()<T>(),
          {.output = head_rows<T>(result.value(), counts.heads, counts.head_size),
           .d_output = head_rows<T>(result.gradient(), counts.heads, counts.head_size),
           .d_query = head_gradient<T>(d_query, counts.heads, counts.head_size),
           .d_states = d_before.view<A>(lanes, counts),
           .d_gain = {d_gain.wanted() ? d_gain.view.template data<A>() : nullptr, d_gain.accumulate}});
    });
  });
  return result;
}

Variable repeat_heads(Tape& tape, const Variable& x, const HeadCounts& counts) {
  const OperatorScope scope(tape, "memory");
  const std::int64_t width = counts.kv_heads * counts.head_size, group = counts.heads / counts.kv_heads;
  if (x.shape().rank() != 3 || x.shape()[2] != width) {
    throw ShapeError(fmt::format("repeat_heads: {}, expected (lanes, tokens, {}) of {} heads of {}",
                                 x.shape().to_string(), width, counts.kv_heads, counts.head_size));
  }
  if (group == 1) return x;
  const std::int64_t lanes = x.shape()[0], tokens = x.shape()[1], d = counts.head_size;
  Tensor repeated(tape.pool(), Shape{lanes, tokens, counts.heads * d}, x.data_type());
  dispatch(x.data_type(), [&]<class T>() {
    const T* const from = x.value().data<T>();
    T* const to = repeated.data<T>();
#pragma omp parallel for schedule(static)
    for (std::int64_t head = 0; head < lanes * tokens * counts.kv_heads; ++head) {
      for (std::int64_t copy = 0; copy < group; ++copy) std::copy_n(from + head * d, d, to + (head * group + copy) * d);
    }
  });
  const bool records = tape.records({x});
  Variable result = Variable::result(std::move(repeated), records);
  if (!records) return result;
  tape.record({result}, [&pool = tape.pool(), dx = x.gradient_slot(), dy = result.gradient_slot(), d, group] {
    Tensor sums(pool, dx.shape(), dy.type());
    dispatch(dy.type(), [&]<class T>() {
      using A = accumulate_t<T>;
      const T* const from = dy.tensor().data<T>();
      T* const to = sums.data<T>();
      const std::int64_t heads = sums.shape().elements() / d;
#pragma omp parallel for schedule(static)
      for (std::int64_t head = 0; head < heads; ++head) {
        for (std::int64_t j = 0; j < d; ++j) {
          A sum = 0;
          for (std::int64_t copy = 0; copy < group; ++copy) sum += static_cast<A>(from[(head * group + copy) * d + j]);
          to[head * d + j] = static_cast<T>(sum);
        }
      }
    });
    dx.add(pool, sums);
  });
  return result;
}

}  // namespace palimpsest
