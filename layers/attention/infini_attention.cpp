#include "layers/attention/infini_attention.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "autograd/ops/attention.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/head_views.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rows.h"
#include "autograd/ops/shared_overlap.h"
#include "core/kernels/decode_attention.h"
#include "core/overlapping_layout.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

namespace {

LayerMemory memory_of(const LayerVariables& state) { return {state[0], state[1]}; }
LayerMemory memory_of(const LayerState& state) { return {Variable(state[0].tensor), Variable(state[1].tensor)}; }

LayoutPointer shifted(const SequenceLayout& layout) {
  return std::make_shared<const SequenceLayout>(shifted_writes(layout));
}

SequenceGroup shifted(SequenceGroup group) {
  auto share = std::make_shared<SequenceShare>(*group.share);
  share->layout = shifted_writes(std::move(share->layout));
  group.share = std::move(share);
  return group;
}

}  // namespace

InfiniAttention::InfiniAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : projections_(config, prefix, factory),
      gate_(factory.create(prefix + "memory_gate", ParameterRole::memory_gate, {config.num_heads})),
      gain_(
          config.attention.memory_readout == MemoryReadout::rms
              ? factory.create(prefix + "memory_gain", ParameterRole::memory_gain, {config.num_heads, config.head_size})
              : Variable()),
      decay_(config.attention.memory_decay
                 ? factory.create(prefix + "memory_decay", ParameterRole::memory_decay, {config.num_kv_heads})
                 : Variable()),
      rule_{config.attention.memory_update == MemoryUpdate::delta, config.attention.memory_epsilon,
            config.attention.memory_features},
      adds_(config.attention.gate == GateKind::add),
      gated_without_memory_(config.attention.empty_memory == EmptyMemory::gated),
      reads_by_key_(config.attention.memory_query == MemoryQuery::key),
      shifts_(config.attention.memory_shift),
      segment_length_(config.segment_length),
      overlap_(config.attention.overlap) {}

Attention::Result InfiniAttention::forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                                           const LayerVariables& state) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const LayerMemory memory = memory_of(state);
  const Variable decay = decay_.defined() ? sigmoid(tape, decay_) : Variable();
  const Variable key = p.keys(tape, x, context.deferred);
  std::optional<SharedMemoryWrite> shared;
  std::optional<SharedOverlap> shared_overlap;
  const Variable written_key = shifts_ ? rows_before(tape, key) : key;
  if (context.sequence) {
    const SequenceGroup group = shifts_ ? shifted(context.sequence) : context.sequence;
    shared.emplace(tape, group, written_key, memory, p.counts, rule_, decay);
  }
  const Variable value = p.values(tape, x, context.deferred);
  SharedOverlap::KeysAndValues seen{key, value}, after;
  if (overlaps()) {
    const SharedOverlap::KeysAndValues before{state[2], state[3]};
    if (context.sequence) {
      shared_overlap.emplace(tape, context.sequence, seen, before);
    } else {
      seen = {append_rows(tape, before.key, key), append_rows(tape, before.value, value)};
      const DataType kept = accumulate_type(p.type);
      after = {last_rows(tape, seen.key, overlap_, kept), last_rows(tape, seen.value, overlap_, kept)};
    }
  }
  const Variable query = p.queries(tape, x, context.deferred);
  if (shared) shared->start(value);
  if (shared_overlap) {
    SharedOverlap::Result rows = shared_overlap->finish();
    seen = std::move(rows.rows);
    after = std::move(rows.after);
  }
  const LayoutPointer layout =
      overlaps()
          ? std::make_shared<const SequenceLayout>(overlapping(*context.layout, *context.tokens_before, overlap_))
          : context.layout;
  const Variable local = local_attention(tape, query, seen.key, seen.value, layout, p.counts, context.rotary);
  const MemoryWrite written =
      shared ? shared->finish()
             : memory_write(tape, written_key, value, memory, shifts_ ? shifted(*context.layout) : context.layout,
                            p.counts, rule_, decay);
  const Variable memory_query = reads_by_key_ ? repeat_heads(tape, key, p.counts) : query;
  const Variable recalled =
      memory_read(tape, memory_query, written.before, context.layout, p.counts, rule_.epsilon, gain_, rule_.features);
  const auto mixes =
      std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*context.layout, gated_without_memory_));
  const Variable mixed = gate(tape, gate_, recalled, local, mixes, p.counts, adds_);
  Result result{linear_add(tape, mixed, p.output, residual, context.deferred),
                {written.after.matrix, written.after.norm},
                {seen.key, seen.value}};
  if (overlaps()) result.state.insert(result.state.end(), {after.key, after.value});
  context.release(mixed);
  return result;
}

LayerState InfiniAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  const std::int64_t heads = projections_.counts.kv_heads, d = projections_.counts.head_size;
  const DataType type = accumulate_type(projections_.type);
  LayerState state{{"matrix", Tensor::zeros(pool, Shape{lanes, heads, d, d}, type)},
                   {"norm", Tensor::zeros(pool, Shape{lanes, heads, d}, type)}};
  for (const char* name : {"key", "value"}) {
    if (!overlaps()) break;
    state.push_back({name, Tensor::zeros(pool, Shape{lanes, overlap_, projections_.kv_size()}, type)});
  }
  return state;
}

LayerState InfiniAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, overlap_ + segment_length_);
}

Variable InfiniAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                 const LayerState& state, LayerState& segment) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const HeadCounts& counts = p.counts;
  const Variable query = p.queries(tape, x), key = p.keys(tape, x), value = p.values(tape, x);
  open_segment::append(context, p, key.value(), value.value(), segment, overlap_);
  for (std::size_t row = 0; overlaps() && row < context.lanes.size(); ++row) {
    if (context.positions[row] > 0) continue;
    const std::int64_t lane = context.lanes[row];
    const auto rows = [&](const StateTensor& kept) {
      return converted(tape.pool(), open_segment::lane_of(kept, lane), p.type);
    };
    open_segment::put_in_front(tape.pool(), p, rows(state[2]), rows(state[3]), *context.rotary, lane, segment);
  }
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
          .gated_without_memory = gated_without_memory_,
          .gain = gain_.defined() ? gain_.value().data<A>() : nullptr,
          .adds = adds_,
          .first_key = overlap_ - std::min(overlap_, context.read[row]),
          .features = rule_.features,
          .memory_query = reads_by_key_ ? head_rows<T>(key.value().rows(at, at + 1), counts.kv_heads, counts.head_size)
                                        : HeadRows<const T>{}};
      decode_attention(tape.pool(), attention, overlap_ + context.positions[row], *context.rotary,
                       head_rows<T>(output, counts.heads, counts.head_size));
    }
  });
  return linear_add(tape, Variable(mixed), p.output, residual);
}

void InfiniAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                                   const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, overlap_ + tokens, rotary, lane, segment);
}

void InfiniAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                     std::span<const std::int64_t> read, const LayerState& segment,
                                     LayerState& state) const {
  // One document a lane, carried in or just starting.
  const std::vector<std::int64_t> documents(lanes.size() * static_cast<std::size_t>(segment_length_), 0);
  std::vector<std::int64_t> carried;
  for (const std::int64_t tokens : read) carried.push_back(tokens > 0 ? 0 : no_document);
  SequenceLayout layout = make_layout(documents, carried, segment_length_);
  if (shifts_) layout = shifted_writes(std::move(layout));
  const LayerState written = select_lanes(pool, segment, lanes);
  Tape tape(pool, Tape::Mode::inference);
  const Variable key(open_segment::key(written).tensor), value(open_segment::value(written).tensor);
  const Variable own_key = last_rows(tape, key, segment_length_);
  const MemoryWrite write = memory_write(
      tape, shifts_ ? rows_before(tape, own_key) : own_key, last_rows(tape, value, segment_length_),
      memory_of(select_lanes(pool, state, lanes)), std::make_shared<const SequenceLayout>(std::move(layout)),
      projections_.counts, rule_, decay_.defined() ? sigmoid(tape, decay_) : Variable());
  LayerState after{{"matrix", write.after.matrix.value()}, {"norm", write.after.norm.value()}};
  if (overlaps()) {
    const DataType kept = accumulate_type(projections_.type);
    after.push_back({"key", last_rows(tape, key, overlap_, kept).value()});
    after.push_back({"value", last_rows(tape, value, overlap_, kept).value()});
  }
  replace_lanes(pool, state, lanes, after);
}

const AttentionTraits infini_attention_traits = {
    .name = "infini",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<InfiniAttention>(config, prefix, factory); },
    .shares_sequences = true,
    .constant_state = true,
    .parameters =
        [](const ModelConfig& c) {
          const bool gain = c.attention.memory_readout == MemoryReadout::rms;
          return c.num_layers * (c.num_heads + (gain ? c.num_heads * c.head_size : 0) +
                                 (c.attention.memory_decay ? c.num_kv_heads : 0));
        },
    .rotary_positions = [](const ModelConfig& c, std::int64_t,
                           std::int64_t) { return c.attention.overlap + c.segment_length; },
    .flops =
        [](const ModelConfig& c, std::int64_t tokens) {
          const auto heads = static_cast<double>(c.num_heads), d = static_cast<double>(c.head_size);
          const bool delta = c.attention.memory_update == MemoryUpdate::delta;
          return causal_attention_flops(c, tokens, c.segment_length, c.attention.overlap) +
                 heads * d * d * (delta ? 6.0 : 4.0);
        },
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      // With an overlap, keys and values once more with those in front of them.
      const std::int64_t overlap = c.attention.overlap;
      const std::int64_t again = overlap > 0 ? 2 * keys * (size.run + overlap) / size.run : 0;
      constexpr auto state_element = static_cast<std::int64_t>(sizeof(float));
      const std::int64_t shifted = c.attention.memory_shift ? keys : 0;
      const bool repeats = c.attention.memory_query == MemoryQuery::key && c.num_kv_heads < c.num_heads;
      return {.kept = size.element * ((repeats ? 5 : 4) * queries + 2 * keys + again + shifted),
              .cheap = size.element * queries,
              .working = size.element * std::max(3 * queries, 2 * queries + 2 * keys + again + shifted),
              .state = size.lanes * keys * (c.head_size + 1) * state_element,
              .carried = size.lanes * overlap * 2 * keys * state_element};
    },
    .kept_numbers =
        [](const ModelConfig& c, std::int64_t tokens) {
          const std::int64_t rows = std::min(tokens, c.attention.overlap);
          return c.num_layers * c.num_kv_heads * (c.head_size * c.head_size + c.head_size + 2 * rows * c.head_size);
        }};

}  // namespace palimpsest
