#include "autograd/ops/attention.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/head_views.h"
#include "core/kernels/gate.h"
#include "core/kernels/local_attention.h"

namespace palimpsest {

namespace {

/// Every span's keys and positions exist.
void check_spans(const SequenceLayout& layout, std::int64_t keys_in_front, const RotaryTable& table) {
  for (const Span& span : layout.spans) {
    const std::int64_t in_front = keys_in_front + span.begin % layout.tokens;
    if (span.keys_before < 0 || span.keys_before > in_front || span.keys_before > span.position) {
      throw ShapeError(
          fmt::format("local_attention: the span at row {}, position {}, sees {} keys before it, but there are {}",
                      span.begin, span.position, span.keys_before, std::min(in_front, span.position)));
    }
    if (span.position + span.length > table.positions()) {
      throw ShapeError(fmt::format("local_attention: positions {} to {}, but the rotary table holds {}", span.position,
                                   span.position + span.length - 1, table.positions()));
    }
  }
}

}  // namespace

Variable local_attention(Tape& tape, const Variable& query, const Variable& key, const Variable& value,
                         const LayoutPointer& layout, const HeadCounts& counts,
                         const std::shared_ptr<const RotaryTable>& table, bool own_keys_only) {
  const OperatorScope scope(tape, "local attention");
  const DataType type = query.data_type();
  require_tensor("local_attention", "query", query.value(),
                 Shape{layout->lanes, layout->tokens, counts.heads * counts.head_size}, type);
  const std::int64_t keys = key.shape().rank() == 3 ? std::max(key.shape()[1], layout->tokens) : layout->tokens;
  const Shape kv_shape{layout->lanes, keys, counts.kv_heads * counts.head_size};
  require_tensor("local_attention", "key", key.value(), kv_shape, type);
  require_tensor("local_attention", "value", value.value(), kv_shape, type);
  check_spans(*layout, keys - layout->tokens, *table);

  const auto inputs = [query, key, value, layout, counts, table, keys]<class T>() {
    return LocalAttentionInputs<T>{.layout = *layout,
                                   .rotary = *table,
                                   .query = head_rows<T>(query.value(), counts.heads, counts.head_size),
                                   .key = head_rows<T>(key.value(), counts.kv_heads, counts.head_size),
                                   .value = head_rows<T>(value.value(), counts.kv_heads, counts.head_size),
                                   .keys_in_front = keys - layout->tokens};
  };
  const bool records = tape.records({query, key, value});
  Tensor output(tape.pool(), query.shape(), type);
  Tensor log_sum_exp;
  if (records) log_sum_exp = Tensor(tape.pool(), Shape{layout->rows(), counts.heads}, accumulate_type(type));
  dispatch(type, [&]<class T>() {
    local_attention_forward<T>(tape.pool(), inputs.template operator()<T>(),
                               {.output = head_rows<T>(output, counts.heads, counts.head_size),
                                .log_sum_exp = records ? log_sum_exp.data<accumulate_t<T>>() : nullptr});
  });
  Variable result = Variable::result(output, records);
  if (!records) return result;

  tape.record({result}, [&pool = tape.pool(), inputs, query, key, value, counts, log_sum_exp, result, own_keys_only] {
    dispatch(query.data_type(), [&]<class T>() {
      auto d_query = query.wanted_gradient(pool), d_key = key.wanted_gradient(pool);
      auto d_value = value.wanted_gradient(pool);
      local_attention_backward<T>(pool, inputs.template operator()<T>(),
                                  {.output = head_rows<T>(result.value(), counts.heads, counts.head_size),
                                   .log_sum_exp = log_sum_exp.template data<accumulate_t<T>>(),
                                   .d_output = head_rows<T>(result.gradient(), counts.heads, counts.head_size),
                                   .d_query = head_gradient<T>(d_query, counts.heads, counts.head_size),
                                   .d_key = head_gradient<T>(d_key, counts.kv_heads, counts.head_size),
                                   .d_value = head_gradient<T>(d_value, counts.kv_heads, counts.head_size),
                                   .own_keys_only = own_keys_only});
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
              const std::shared_ptr<const std::vector<std::uint8_t>>& mixes, const HeadCounts& counts, bool adds) {
  const OperatorScope scope(tape, "gate");
  const DataType type = local.data_type();
  require_tensor("gate", "beta", beta.value(), Shape{counts.heads}, accumulate_type(type));
  require_tensor("gate", "memory", from_memory.value(), local.shape(), type);
  if (local.shape().rows() != static_cast<std::int64_t>(mixes->size())) {
    throw ShapeError(
        fmt::format("gate: {} row flags for values of shape {}", mixes->size(), local.shape().to_string()));
  }
  const auto inputs = [beta, from_memory, local, mixes, counts, adds]<class T>() {
    return GateInputs<T>{.beta = beta.value().template data<accumulate_t<T>>(),
                         .mixes = *mixes,
                         .from_memory = head_rows<T>(from_memory.value(), counts.heads, counts.head_size),
                         .local = head_rows<T>(local.value(), counts.heads, counts.head_size),
                         .adds = adds};
  };
  const auto mix = [&pool = tape.pool(), inputs, local, counts] {
    Tensor output(pool, local.shape(), local.data_type());
    dispatch(local.data_type(), [&]<class T>() {
      gate_forward<T>(inputs.template operator()<T>(), head_rows<T>(output, counts.heads, counts.head_size));
    });
    return output;
  };
  const bool records = tape.records({beta, from_memory, local});
  Variable result = Variable::result(mix(), records);
  if (!records) return result;
  result.set_rebuild(mix);

  tape.record({result}, [&pool = tape.pool(), inputs, beta, from_memory, local, counts, dy = result.gradient_slot()] {
    dispatch(local.data_type(), [&]<class T>() {
      auto d_beta = beta.wanted_gradient(pool), d_memory = from_memory.wanted_gradient(pool);
      auto d_local = local.wanted_gradient(pool);
      gate_backward<T>(
          pool, inputs.template operator()<T>(),
          {.d_output = head_rows<T>(dy.tensor(), counts.heads, counts.head_size),
           .d_from_memory = head_gradient<T>(d_memory, counts.heads, counts.head_size),
           .d_local = head_gradient<T>(d_local, counts.heads, counts.head_size),
           .d_beta = {d_beta.wanted() ? d_beta.view.template data<accumulate_t<T>>() : nullptr, d_beta.accumulate}});
    });
  });
  return result;
}

}  // namespace palimpsest
