#include "layers/attention/transformer_xl_attention.h"

#include <algorithm>

#include "autograd/ops/attention.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rows.h"
#include "layers/attention/document_rows.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

namespace {

/// The layout's spans, of which those that go on with a document see up to `cache_length` of its tokens in front;
/// `before` such tokens stand in front of the first segment of each lane.
LayoutPointer with_cache(const SequenceLayout& layout, const std::vector<std::int64_t>& before,
                         std::int64_t cache_length) {
  SequenceLayout cached = layout;
  const std::vector<std::int64_t> in_front = document_rows::tokens_in_front(layout, before);
  for (std::size_t i = 0; i < in_front.size(); ++i) {
    cached.spans[i].keys_before = cached.spans[i].position = std::min(cache_length, in_front[i]);
  }
  return std::make_shared<const SequenceLayout>(std::move(cached));
}

}  // namespace

TransformerXlAttention::TransformerXlAttention(const ModelConfig& config, const std::string& prefix,
                                               ParameterFactory& factory)
    : projections_(config, prefix, factory),
      segment_length_(config.segment_length),
      cache_length_(config.attention.cache_length),
      cache_gradient_(config.attention.cache_gradient) {}

Attention::Result TransformerXlAttention::forward(const ForwardContext& context, const Variable& x,
                                                  const Variable& residual, const LayerVariables& state) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const auto cached = [this](const Variable& rows) { return cache_gradient_ ? rows : rows.detached(); };
  const Variable key = p.keys(tape, x, context.deferred);
  const Variable value = p.values(tape, x, context.deferred);
  const Variable query = p.queries(tape, x, context.deferred);
  const Variable keys = append_rows(tape, cached(state[0]), key), values = append_rows(tape, cached(state[1]), value);
  const LayoutPointer layout = with_cache(*context.layout, *context.tokens_before, cache_length_);
  const Variable attended =
      local_attention(tape, query, keys, values, layout, p.counts, context.rotary, !cache_gradient_);
  return {linear_add(tape, attended, p.output, residual, context.deferred),
          {last_rows(tape, cached(keys), cache_length_), last_rows(tape, cached(values), cache_length_)},
          {key, value}};
}

LayerState TransformerXlAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  return document_rows::empty(pool, projections_, lanes, cache_length_);
}

LayerState TransformerXlAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, segment_length_);
}

Variable TransformerXlAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                        const LayerState& state, LayerState& segment) const {
  return document_rows::decode(context, projections_, x, residual, state, cache_length_, segment);
}

void TransformerXlAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row,
                                          std::int64_t tokens, const RotaryTable& rotary, std::int64_t lane,
                                          LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, tokens, rotary, lane, segment);
}

void TransformerXlAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                            std::span<const std::int64_t>, const LayerState& segment,
                                            LayerState& state) const {
  document_rows::append(pool, lanes, segment, state);
}

namespace {

/// FLOPs per token of a layer: a token sees its segment up to itself and the cache, as far as the document has begun.
double flops(const ModelConfig& c, std::int64_t tokens) {
  double cached = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += c.segment_length) {
    const std::int64_t seen = std::min(begin, c.attention.cache_length);
    cached += static_cast<double>(seen) * static_cast<double>(std::min(c.segment_length, tokens - begin));
  }
  const double per_key = 4.0 * static_cast<double>(c.num_heads * c.head_size);
  return causal_attention_flops(c, tokens, c.segment_length) + per_key * cached / static_cast<double>(tokens);
}

}  // namespace

const AttentionTraits transformer_xl_attention_traits = {
    .name = "transformer_xl",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<TransformerXlAttention>(config, prefix, factory); },
    .shares_sequences = false,
    .constant_state = true,
    .state_before_segments = false,
    .parameters = [](const ModelConfig&) -> std::int64_t { return 0; },
    .rotary_positions = [](const ModelConfig& c, std::int64_t,
                           std::int64_t) { return c.attention.cache_length + c.segment_length; },
    .flops = flops,
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      return {.kept = size.element * (2 * queries + 2 * keys),
              .working = size.element * (2 * queries + 4 * keys),
              .state = size.lanes * c.attention.cache_length * 2 * keys * size.element};
    },
    .kept_numbers =
        [](const ModelConfig& c, std::int64_t tokens) {
          const std::int64_t kept = std::min(tokens, c.attention.cache_length);
          return c.num_layers * kept * 2 * c.num_kv_heads * c.head_size;
        }};

}  // namespace palimpsest
