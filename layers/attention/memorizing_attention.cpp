#include "layers/attention/memorizing_attention.h"

#include <algorithm>
#include <vector>

#include "autograd/ops/attention.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/nearest_attention.h"
#include "autograd/ops/rows.h"
#include "layers/attention/document_rows.h"
#include "layers/attention/local_attention.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

namespace {

/// What the tokens of each segment search among `store_size` rows in front of each lane's own: of the document that
/// they go on with, the last `store_size` tokens before the segment.
std::vector<StoredKeys> searches(const SequenceLayout& layout, const std::vector<std::int64_t>& before,
                                 std::int64_t store_size) {
  std::vector<StoredKeys> runs;
  std::size_t index = 0;
  const std::vector<std::int64_t> in_front = document_rows::tokens_in_front(layout, before);
  for (const Span& span : layout.spans) {
    const std::int64_t keys = std::min(store_size, in_front[index++]);
    if (keys == 0) continue;
    const std::int64_t own = span.begin + (span.begin / layout.tokens + 1) * store_size;
    runs.push_back({.first_query = span.begin, .queries = span.length, .first_key = own - keys, .keys = keys});
  }
  return runs;
}

}  // namespace

MemorizingAttention::MemorizingAttention(const ModelConfig& config, const std::string& prefix,
                                         ParameterFactory& factory)
    : projections_(config, prefix, factory),
      gate_(factory.create(prefix + "memory_gate", ParameterRole::memory_gate, {config.num_heads})),
      segment_length_(config.segment_length),
      store_size_(config.attention.store_size),
      top_k_(config.attention.top_k) {}

Attention::Result MemorizingAttention::forward(const ForwardContext& context, const Variable& x,
                                               const Variable& residual, const LayerVariables& state) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const Variable key = p.keys(tape, x, context.deferred);
  const Variable value = p.values(tape, x, context.deferred);
  const Variable query = p.queries(tape, x, context.deferred);
  const Variable local = local_attention(tape, query, key, value, context.layout, p.counts, context.rotary);
  const Variable keys = append_rows(tape, state[0].detached(), key.detached());
  const Variable values = append_rows(tape, state[1].detached(), value.detached());
  const Variable recalled =
      nearest_attention(tape, query, keys.value(), values.value(),
                        searches(*context.layout, *context.tokens_before, store_size_), top_k_, p.counts);
  const auto mixes = std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*context.layout, false));
  const Variable mixed = gate(tape, gate_, recalled, local, mixes, p.counts);
  Result result{linear_add(tape, mixed, p.output, residual, context.deferred),
                {last_rows(tape, keys, store_size_), last_rows(tape, values, store_size_)},
                {key, value}};
  context.release(mixed);
  return result;
}

LayerState MemorizingAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  return document_rows::empty(pool, projections_, lanes, store_size_);
}

LayerState MemorizingAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, segment_length_);
}

Variable MemorizingAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                     const LayerState& state, LayerState& segment) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const Variable query = p.queries(tape, x);
  const Variable local = open_segment::decode_local(context, p, x, query, segment);
  std::vector<StoredKeys> runs;
  std::vector<std::uint8_t> mixes;
  for (std::size_t row = 0; row < context.lanes.size(); ++row) {
    const std::int64_t keys = std::min(store_size_, context.read[row]);
    mixes.push_back(keys > 0 ? 1 : 0);
    if (keys == 0) continue;
    runs.push_back({.first_query = static_cast<std::int64_t>(row),
                    .queries = 1,
                    .first_key = (context.lanes[row] + 1) * store_size_ - keys,
                    .keys = keys});
  }
  const Variable recalled = nearest_attention(tape, query, state[0].tensor, state[1].tensor, runs, top_k_, p.counts);
  const Variable mixed =
      gate(tape, gate_, recalled, local, std::make_shared<const std::vector<std::uint8_t>>(std::move(mixes)), p.counts);
  return linear_add(tape, mixed, p.output, residual);
}

void MemorizingAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row,
                                       std::int64_t tokens, const RotaryTable& rotary, std::int64_t lane,
                                       LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, tokens, rotary, lane, segment);
}

void MemorizingAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                         std::span<const std::int64_t>, const LayerState& segment,
                                         LayerState& state) const {
  document_rows::append(pool, lanes, segment, state);
}

namespace {

/// FLOPs per token of all layers: local attention, and in one layer the search through what is stored and the sum of
/// what was found.
double flops(const ModelConfig& c, std::int64_t tokens) {
  double searched = 0, found = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += c.segment_length) {
    const std::int64_t stored = std::min(begin, c.attention.store_size);
    const auto queries = static_cast<double>(std::min(c.segment_length, tokens - begin));
    searched += queries * static_cast<double>(stored);
    found += queries * static_cast<double>(std::min(stored, c.attention.top_k));
  }
  const double per_key = 2.0 * static_cast<double>(c.num_heads * c.head_size) / static_cast<double>(tokens);
  return causal_attention_flops(c, tokens, c.segment_length) +
         per_key * (searched + found) / static_cast<double>(c.num_layers);
}

}  // namespace

const AttentionTraits memorizing_attention_traits = {
    .name = "memorizing",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<MemorizingAttention>(config, prefix, factory); },
    .shares_sequences = false,
    .constant_state = true,
    .state_before_segments = false,
    .parameters = [](const ModelConfig& c) { return c.num_heads; },
    .rotary_positions = [](const ModelConfig& c, std::int64_t, std::int64_t) { return c.segment_length; },
    .flops = flops,
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      AttentionBytes bytes = local_attention_traits.bytes(c, size);
      // One layer keeps stored keys and values with those of the tokens, and what was found.
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      const std::int64_t found = c.num_heads * c.attention.top_k * 8;
      bytes.kept += (size.element * (2 * queries + 2 * keys) + found) / c.num_layers;
      const std::int64_t store = size.lanes * c.attention.store_size * 2 * keys * size.element;
      bytes.state = store / c.num_layers;
      bytes.once = 3 * store / 2;  // with the tokens' keys and values behind it, and while it is computed again
      return bytes;
    },
    .kept_numbers =
        [](const ModelConfig& c, std::int64_t tokens) {
          return std::min(tokens, c.attention.store_size) * 2 * c.num_kv_heads * c.head_size;
        }};

}  // namespace palimpsest
