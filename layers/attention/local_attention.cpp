#include "layers/attention/local_attention.h"

#include "autograd/ops/attention.h"
#include "autograd/ops/linear.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

LocalAttention::LocalAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : projections_(config, prefix, factory), segment_length_(config.segment_length) {}

Attention::Result LocalAttention::forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                                          const LayerVariables&) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const Variable key = p.keys(tape, x, context.deferred);
  const Variable value = p.values(tape, x, context.deferred);
  const Variable query = p.queries(tape, x, context.deferred);
  const Variable local = local_attention(tape, query, key, value, context.layout, p.counts, context.rotary);
  return {linear_add(tape, local, p.output, residual, context.deferred), {}, {key, value}};
}

LayerState LocalAttention::empty_state(MemoryPool&, std::int64_t) const { return {}; }

LayerState LocalAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, segment_length_);
}

Variable LocalAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                const LayerState&, LayerState& segment) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const Variable attended = open_segment::decode_local(context, p, x, p.queries(tape, x), segment);
  return linear_add(tape, attended, p.output, residual);
}

void LocalAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                                  const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, tokens, rotary, lane, segment);
}

void LocalAttention::finish_segment(MemoryPool&, std::span<const std::int64_t>, std::span<const std::int64_t>,
                                    const LayerState&, LayerState&) const {}

const AttentionTraits local_attention_traits = {
    .name = "local",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<LocalAttention>(config, prefix, factory); },
    .shares_sequences = true,
    .constant_state = true,
    .parameters = [](const ModelConfig&) -> std::int64_t { return 0; },
    .rotary_positions = [](const ModelConfig& c, std::int64_t, std::int64_t) { return c.segment_length; },
    .flops = [](const ModelConfig& c,
                std::int64_t tokens) { return causal_attention_flops(c, tokens, c.segment_length); },
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      return {.kept = size.element * (2 * queries + 2 * keys), .working = size.element * (2 * queries + 2 * keys)};
    },
    .kept_numbers = [](const ModelConfig&, std::int64_t) -> std::int64_t { return 0; }};

}  // namespace palimpsest
