#include "autograd/ops/memory.h"

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

Shape without_slots(const Shape& shape) { return Shape(shape.extents().subspan(1)); }

}  // namespace

MemoryWrite memory_write(Tape& tape, const Variable& key, const Variable& value, const LayerMemory& initial,
                         const LayoutPointer& layout, const HeadCounts& counts, MemoryRule rule) {
  const OperatorScope scope(tape, "memory");
  const DataType type = key.data_type(), state_type = accumulate_type(type);
  const std::int64_t segments = layout->segments_per_lane, lanes = layout->lanes;
  const Shape one_matrix = without_slots(matrix_shape(1, *layout, counts));
  const Shape one_norm = without_slots(norm_shape(1, *layout, counts));
  require_tensor("memory_write", "key", key.value(), activation_shape(*layout, counts.kv_heads, counts), type);
  require_tensor("memory_write", "value", value.value(), key.shape(), type);
  require_tensor("memory_write", "initial matrix", initial.matrix.value(), one_matrix, state_type);
  require_tensor("memory_write", "initial norm", initial.norm.value(), one_norm, state_type);

  Tensor matrices = before_segments(tape.pool(), initial.matrix.value(), matrix_shape(segments, *layout, counts));
  Tensor norms = before_segments(tape.pool(), initial.norm.value(), norm_shape(segments, *layout, counts));
  Tensor last_matrix(tape.pool(), one_matrix, state_type), last_norm(tape.pool(), one_norm, state_type);
  dispatch(type, [&]<class T>() {
    memory_write_forward<T>(tape.pool(), *layout, head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
                            head_rows<T>(value.value(), counts.kv_heads, counts.head_size), rule,
                            memory_states<accumulate_t<T>>(matrices, norms, lanes, counts),
                            memory_states<accumulate_t<T>>(last_matrix, last_norm, lanes, counts));
  });

  const bool records = tape.records({key, value, initial.matrix, initial.norm});
  const MemoryWrite result{
      {Variable::result(matrices, records), Variable::result(norms, records)},
      {Variable::result(std::move(last_matrix), records), Variable::result(std::move(last_norm), records)}};
  if (!records) return result;

  tape.record({result.before.matrix, result.before.norm, result.after.matrix, result.after.norm},
              [&pool = tape.pool(), key, value, initial, layout, counts, rule, matrices, norms,
               d_before = slots_of(result.before), d_after = slots_of(result.after)] {
                dispatch(key.data_type(), [&]<class T>() {
                  using A = accumulate_t<T>;
                  const std::int64_t lanes = layout->lanes;
                  auto d_key = key.gradient_target(pool), d_value = value.gradient_target(pool);
                  Tensor d_matrix(pool, initial.matrix.shape(), data_type_of<A>),
                      d_norm(pool, initial.norm.shape(), data_type_of<A>);
                  memory_write_backward<T>(pool, *layout, head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
                                           head_rows<T>(value.value(), counts.kv_heads, counts.head_size), rule,
                                           memory_states<A>(matrices, norms, lanes, counts),
                                           memory_states<A>(d_before[0].tensor(), d_before[1].tensor(), lanes, counts),
                                           memory_states<A>(d_after[0].tensor(), d_after[1].tensor(), lanes, counts),
                                           head_rows<T>(d_key.view, counts.kv_heads, counts.head_size),
                                           d_key.accumulate,
                                           head_rows<T>(d_value.view, counts.kv_heads, counts.head_size),
                                           d_value.accumulate, memory_states<A>(d_matrix, d_norm, lanes, counts));
                  if (initial.matrix.requires_gradient()) initial.matrix.add_gradient(pool, d_matrix);
                  if (initial.norm.requires_gradient()) initial.norm.add_gradient(pool, d_norm);
                });
              });
  return result;
}

Variable memory_read(Tape& tape, const Variable& query, const LayerMemory& before, const LayoutPointer& layout,
                     const HeadCounts& counts, double epsilon) {
  const OperatorScope scope(tape, "memory");
  const DataType type = query.data_type(), state_type = accumulate_type(type);
  const std::int64_t segments = layout->segments_per_lane, lanes = layout->lanes;
  require_tensor("memory_read", "query", query.value(), activation_shape(*layout, counts.heads, counts), type);
  require_tensor("memory_read", "matrix", before.matrix.value(), matrix_shape(segments, *layout, counts), state_type);
  require_tensor("memory_read", "norm", before.norm.value(), norm_shape(segments, *layout, counts), state_type);

  Tensor output(tape.pool(), query.shape(), type);
  dispatch(type, [&]<class T>() {
    memory_read_forward<T>(tape.pool(), *layout, head_rows<T>(query.value(), counts.heads, counts.head_size),
                           memory_states<accumulate_t<T>>(before.matrix.value(), before.norm.value(), lanes, counts),
                           epsilon, head_rows<T>(output, counts.heads, counts.head_size));
  });
  const bool records = tape.records({query, before.matrix, before.norm});
  const Variable result = Variable::result(output, records);
  if (!records) return result;

  tape.record({result}, [&pool = tape.pool(), query, before, layout, counts, epsilon, result] {
    dispatch(query.data_type(), [&]<class T>() {
      using A = accumulate_t<T>;
      const std::int64_t lanes = layout->lanes;
      auto d_query = query.gradient_target(pool);
      auto d_matrix = before.matrix.gradient_target(pool), d_norm = before.norm.gradient_target(pool);
      memory_read_backward<T>(pool, *layout, head_rows<T>(query.value(), counts.heads, counts.head_size),
                              memory_states<A>(before.matrix.value(), before.norm.value(), lanes, counts), epsilon,
                              head_rows<T>(result.value(), counts.heads, counts.head_size),
                              head_rows<T>(result.gradient(), counts.heads, counts.head_size),
                              head_rows<T>(d_query.view, counts.heads, counts.head_size), d_query.accumulate,
                              memory_states<A>(d_matrix.view, d_norm.view, lanes, counts), d_matrix.accumulate);
    });
  });
  return result;
}

}  // namespace palimpsest
