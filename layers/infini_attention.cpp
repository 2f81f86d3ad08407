#include "layers/infini_attention.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "autograd/ops/attention.h"
#include "autograd/ops/head_views.h"
#include "autograd/ops/linear.h"
#include "core/kernels/decode_attention.h"

namespace palimpsest {

InfiniAttention::InfiniAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : counts_{config.num_heads, config.num_kv_heads, config.head_size},
      rule_{config.attention.memory_update == MemoryUpdate::delta, config.attention.memory_epsilon},
      gated_without_memory_(config.attention.empty_memory == EmptyMemory::gated) {
  const std::int64_t query_size = config.num_heads * config.head_size, kv_size = config.num_kv_heads * config.head_size;
  query_ = factory.create(prefix + "q_proj.weight", ParameterRole::matrix, {query_size, config.hidden_size});
  key_ = factory.create(prefix + "k_proj.weight", ParameterRole::matrix, {kv_size, config.hidden_size});
  value_ = factory.create(prefix + "v_proj.weight", ParameterRole::matrix, {kv_size, config.hidden_size});
  output_ = factory.create(prefix + "o_proj.weight", ParameterRole::matrix, {config.hidden_size, query_size});
  gate_ = factory.create(prefix + "memory_gate", ParameterRole::memory_gate, {config.num_heads});
}

InfiniAttention::Result InfiniAttention::forward(const ForwardContext& context, const Variable& x,
                                                 const Variable& residual, const LayerMemory& memory) const {
  Tape& tape = context.tape;
  const Variable key = linear(tape, x, key_, context.deferred);
  std::optional<SharedMemoryWrite> shared;
  if (context.sequence) shared.emplace(tape, context.sequence, key, memory, counts_, rule_);
  const Variable value = linear(tape, x, value_, context.deferred);
  const Variable query = linear(tape, x, query_, context.deferred);
  if (shared) shared->start(value);
  const Variable local = local_attention(tape, query, key, value, context.layout, counts_, context.rotary);
  const MemoryWrite written =
      shared ? shared->finish() : memory_write(tape, key, value, memory, context.layout, counts_, rule_);
  const Variable recalled = memory_read(tape, query, written.before, context.layout, counts_, rule_.epsilon);
  const Variable mixed = gate(tape, gate_, recalled, local, context.mixes, counts_);
  Result result{linear_add(tape, mixed, output_, residual, context.deferred), written.after, key, value};
  context.release(mixed);
  return result;
}

Variable InfiniAttention::decode(Tape& tape, const Variable& x, const Variable& residual, const LayerMemory& memory,
                                 bool reads, SegmentCache& cache, std::int64_t position,
                                 const RotaryTable& rotary) const {
  const Variable query = linear(tape, x, query_), key = linear(tape, x, key_), value = linear(tape, x, value_);
  Tensor mixed(tape.pool(), query.shape(), query.data_type());
  dispatch(query.data_type(), [&]<class T>() {
    using A = accumulate_t<T>;
    const std::int64_t kv_size = counts_.kv_heads * counts_.head_size;
    std::copy_n(key.value().data<T>(), kv_size, cache.key.data<T>() + position * kv_size);
    std::copy_n(value.value().data<T>(), kv_size, cache.value.data<T>() + position * kv_size);
    for (std::int64_t head = 0; head < counts_.kv_heads; ++head) {
      const std::int64_t at = head * counts_.head_size;
      rotate(key.value().data<T>() + at, kv_size, cache.rotated_key.data<T>() + position * kv_size + at, kv_size, 1,
             position, rotary, false);
    }
    const DecodeAttention<T> attention{
        head_rows<T>(query.value(), counts_.heads, counts_.head_size),
        head_rows<T>(std::as_const(cache.rotated_key), counts_.kv_heads, counts_.head_size),
        head_rows<T>(std::as_const(cache.value), counts_.kv_heads, counts_.head_size),
        memory_states<A>(memory.matrix.value(), memory.norm.value(), 1, counts_),
        gate_.value().data<A>(),
        rule_.epsilon,
        reads,
        gated_without_memory_};
    decode_attention(tape.pool(), attention, position, rotary, head_rows<T>(mixed, counts_.heads, counts_.head_size));
  });
  return linear_add(tape, Variable(mixed), output_, residual);
}

}  // namespace palimpsest
