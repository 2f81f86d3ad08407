#include "autograd/ops/attention.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/head_views.h"
#include "core/kernels/gate.h"
#include "core/kernels/local_attention.h"

namespace palimpsest {

Variable local_attention(Tape& tape, const Variable& query, const Variable& key, const Variable& value,
                         const LayoutPointer& layout, const HeadCounts& counts,
                         const std::shared_ptr<const RotaryTable>& table) {
  const OperatorScope scope(tape, "local attention");
  const DataType type = query.data_type();
  const Shape kv_shape{layout->lanes, layout->tokens, counts.kv_heads * counts.head_size};
  require_tensor("local_attention", "query", query.value(),
                 Shape{layout->lanes, layout->tokens, counts.heads * counts.head_size}, type);
  require_tensor("local_attention", "key", key.value(), kv_shape, type);
  require_tensor("local_attention", "value", value.value(), kv_shape, type);

  const bool records = tape.records({query, key, value});
  Tensor output(tape.pool(), query.shape(), type);
  Tensor log_sum_exp;
  if (records) log_sum_exp = Tensor(tape.pool(), Shape{layout->rows(), counts.heads}, accumulate_type(type));
  dispatch(type, [&]<class T>() {
    local_attention_forward<T>(tape.pool(), *layout, head_rows<T>(query.value(), counts.heads, counts.head_size),
                               head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
                               head_rows<T>(value.value(), counts.kv_heads, counts.head_size), *table,
                               head_rows<T>(output, counts.heads, counts.head_size),
                               records ? log_sum_exp.data<accumulate_t<T>>() : nullptr);
  });
  const Variable result = Variable::result(output, records);
  if (!records) return result;

  tape.record({result}, [&pool = tape.pool(), query, key, value, layout, counts, table, log_sum_exp, result] {
    dispatch(query.data_type(), [&]<class T>() {
      auto d_query = query.gradient_target(pool), d_key = key.gradient_target(pool);
      auto d_value = value.gradient_target(pool);
      local_attention_backward<T>(
          pool, *layout, head_rows<T>(query.value(), counts.heads, counts.head_size),
          head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
          head_rows<T>(value.value(), counts.kv_heads, counts.head_size), *table,
          head_rows<T>(result.value(), counts.heads, counts.head_size), log_sum_exp.template data<accumulate_t<T>>(),
          head_rows<T>(result.gradient(), counts.heads, counts.head_size),
          {head_rows<T>(d_query.tensor, counts.heads, counts.head_size), d_query.accumulate},
          {head_rows<T>(d_key.tensor, counts.kv_heads, counts.head_size), d_key.accumulate},
          {head_rows<T>(d_value.tensor, counts.kv_heads, counts.head_size), d_value.accumulate});
    });
  });
  return result;
}

std::vector<std::uint8_t> rows_that_mix(const SequenceLayout& layout, bool everywhere) {
  std::vector<std::uint8_t> mixes(static_cast<std::size_t>(layout.rows()), everywhere ? 1 : 0);
  for (const Segment& segment : layout.segments) std::fill_n(mixes.begin() + segment.begin, segment.carried, 1);
  return mixes;
}

Variable gate(Tape& tape, const Variable& beta, const Variable& from_memory, const Variable& local,
              const std::shared_ptr<const std::vector<std::uint8_t>>& mixes, const HeadCounts& counts) {
  const OperatorScope scope(tape, "gate");
  const DataType type = local.data_type();
  require_tensor("gate", "beta", beta.value(), Shape{counts.heads}, accumulate_type(type));
  require_tensor("gate", "memory", from_memory.value(), local.shape(), type);
  if (local.shape().rows() != static_cast<std::int64_t>(mixes->size())) {
    throw ShapeError(
        fmt::format("gate: {} row flags for values of shape {}", mixes->size(), local.shape().to_string()));
  }
  const auto mix = [&pool = tape.pool(), beta, from_memory, local, mixes, counts] {
    Tensor output(pool, local.shape(), local.data_type());
    dispatch(local.data_type(), [&]<class T>() {
      gate_forward<T>(beta.value().data<accumulate_t<T>>(), *mixes,
                      head_rows<T>(from_memory.value(), counts.heads, counts.head_size),
                      head_rows<T>(local.value(), counts.heads, counts.head_size),
                      head_rows<T>(output, counts.heads, counts.head_size));
    });
    return output;
  };
  const bool records = tape.records({beta, from_memory, local});
  const Variable result = Variable::result(mix(), records);
  if (!records) return result;
  result.set_rebuild(mix);

  tape.record({result}, [&pool = tape.pool(), beta, from_memory, local, mixes, counts, dy = result.gradient_slot()] {
    dispatch(local.data_type(), [&]<class T>() {
      using A = accumulate_t<T>;
      auto d_beta = beta.gradient_target(pool), d_memory = from_memory.gradient_target(pool);
      auto d_local = local.gradient_target(pool);
      gate_backward<T>(pool, beta.value().template data<A>(), *mixes,
                       head_rows<T>(from_memory.value(), counts.heads, counts.head_size),
                       head_rows<T>(local.value(), counts.heads, counts.head_size),
                       head_rows<T>(dy.tensor(), counts.heads, counts.head_size),
                       head_rows<T>(d_memory.tensor, counts.heads, counts.head_size), d_memory.accumulate,
                       head_rows<T>(d_local.tensor, counts.heads, counts.head_size), d_local.accumulate,
                       d_beta.tensor.template data<A>(), d_beta.accumulate);
    });
  });
  return result;
}

}  // namespace palimpsest
