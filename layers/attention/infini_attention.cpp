#include "layers/attention/infini_attention.h"

#include <optional>

#include "autograd/ops/attention.h"
#include "autograd/ops/head_views.h"
#include "autograd/ops/linear.h"
#include "core/kernels/decode_attention.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

namespace {

LayerMemory memory_of(const LayerVariables& state) { return {state[0], state[1]}; }
LayerMemory memory_of(const LayerState& state) { return {Variable(state[0].tensor), Variable(state[1].tensor)}; }
LayerState state_of(const LayerMemory& memory) {
  return {{"matrix", memory.matrix.value()}, {"norm", memory.norm.value()}};
}

}  // namespace

InfiniAttention::InfiniAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : projections_(config, prefix, factory),
      gate_(factory.create(prefix + "memory_gate", ParameterRole::memory_gate, {config.num_heads})),
      rule_{config.attention.memory_update == MemoryUpdate::delta, config.attention.memory_epsilon},
      gated_without_memory_(config.attention.empty_memory == EmptyMemory::gated),
      segment_length_(config.segment_length) {}

Attention::Result InfiniAttention::forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                                           const LayerVariables& state) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const LayerMemory memory = memory_of(state);
  const Variable key = linear(tape, x, p.key, context.deferred);
  std::optional<SharedMemoryWrite> shared;
  if (context.sequence) shared.emplace(tape, context.sequence, key, memory, p.counts, rule_);
  const Variable value = linear(tape, x, p.value, context.deferred);
  const Variable query = linear(tape, x, p.query, context.deferred);
  if (shared) shared->start(value);
  const Variable local = local_attention(tape, query, key, value, context.layout, p.counts, context.rotary);
  const MemoryWrite written =
      shared ? shared->finish() : memory_write(tape, key, value, memory, context.layout, p.counts, rule_);
  const Variable recalled = memory_read(tape, query, written.before, context.layout, p.counts, rule_.epsilon);
  const auto mixes =
      std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*context.layout, gated_without_memory_));
  const Variable mixed = gate(tape, gate_, recalled, local, mixes, p.counts);
  Result result{linear_add(tape, mixed, p.output, residual, context.deferred),
                {written.after.matrix, written.after.norm},
                {key, value}};
  context.release(mixed);
  return result;
}

LayerState InfiniAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  const std::int64_t heads = projections_.counts.kv_heads, d = projections_.counts.head_size;
  const DataType type = accumulate_type(projections_.type);
  return {{"matrix", Tensor::zeros(pool, Shape{lanes, heads, d, d}, type)},
          {"norm", Tensor::zeros(pool, Shape{lanes, heads, d}, type)}};
}

LayerState InfiniAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, segment_length_);
}

Variable InfiniAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                 const LayerState& state, LayerState& segment) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const HeadCounts& counts = p.counts;
  const Variable query = linear(tape, x, p.query), key = linear(tape, x, p.key), value = linear(tape, x, p.value);
  open_segment::append(context, p, key.value(), value.value(), segment);
  Tensor mixed(tape.pool(), query.shape(), p.type);
  dispatch(p.type, [&]<class T>() {
    using A = accumulate_t<T>;
    for (std::size_t row = 0; row < context.lanes.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const std::int64_t lane = context.lanes[row];
      const Tensor keys = open_segment::lane_of(open_segment::rotated_key(segment), lane);
      const Tensor values = open_segment::lane_of(open_segment::value(segment), lane);
      const Tensor matrix = state[0].tensor.rows(lane, lane + 1), norm = state[1].tensor.rows(lane, lane + 1);
      Tensor output = mixed.rows(at, at + 1);
      const DecodeAttention<T> attention{
          .query = head_rows<T>(query.value().rows(at, at + 1), counts.heads, counts.head_size),
          .rotated_keys = head_rows<T>(keys, counts.kv_heads, counts.head_size),
          .values = head_rows<T>(values, counts.kv_heads, counts.head_size),
          .memory = memory_states<A>(matrix, norm, 1, counts),
          .beta = gate_.value().data<A>(),
          .epsilon = rule_.epsilon,
          .reads_memory = context.read[row] > 0,
          .gated_without_memory = gated_without_memory_};
      decode_attention(tape.pool(), attention, context.positions[row], *context.rotary,
                       head_rows<T>(output, counts.heads, counts.head_size));
    }
  });
  return linear_add(tape, Variable(mixed), p.output, residual);
}

void InfiniAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                                   const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, tokens, rotary, lane, segment);
}

void InfiniAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                     std::span<const std::int64_t> read, const LayerState& segment,
                                     LayerState& state) const {
  // One document a lane, carried in or just starting.
  const std::vector<std::int64_t> documents(lanes.size() * static_cast<std::size_t>(segment_length_), 0);
  std::vector<std::int64_t> carried;
  for (const std::int64_t tokens : read) carried.push_back(tokens > 0 ? 0 : no_document);
  const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, carried, segment_length_));
  const LayerState written = select_lanes(pool, segment, lanes);
  Tape tape(pool, Tape::Mode::inference);
  const MemoryWrite write =
      memory_write(tape, Variable(open_segment::key(written).tensor), Variable(open_segment::value(written).tensor),
                   memory_of(select_lanes(pool, state, lanes)), layout, projections_.counts, rule_);
  replace_lanes(pool, state, lanes, state_of(write.after));
}

const AttentionTraits infini_attention_traits = {
    .name = "infini",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<InfiniAttention>(config, prefix, factory); },
    .shares_sequences = true,
    .constant_state = true,
    .parameters = [](const ModelConfig& c) { return c.num_layers * c.num_heads; },
    .rotary_positions = [](const ModelConfig& c, std::int64_t, std::int64_t) { return c.segment_length; },
    .flops =
        [](const ModelConfig& c, std::int64_t tokens) {
          const auto heads = static_cast<double>(c.num_heads), d = static_cast<double>(c.head_size);
          const bool delta = c.attention.memory_update == MemoryUpdate::delta;
          return causal_attention_flops(c, tokens, c.segment_length) + heads * d * d * (delta ? 6.0 : 4.0);
        },
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      return {.kept = size.element * (4 * queries + 2 * keys),
              .cheap = size.element * queries,
              .working = size.element * std::max(3 * queries, 2 * queries + 2 * keys),
              .state = size.lanes * keys * (c.head_size + 1) * static_cast<std::int64_t>(sizeof(float))};
    },
    .kept_numbers =
        [](const ModelConfig& c, std::int64_t) {
          return c.num_layers * c.num_kv_heads * (c.head_size * c.head_size + c.head_size);
        }};

}  // namespace palimpsest
