#include "layers/attention/recurrent_memory_attention.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "autograd/ops/rows.h"
#include "core/error.h"
#include "layers/model_flops.h"

namespace palimpsest {

namespace {

/// The configuration of attention over a segment's rows, all of them.
ModelConfig over_rows(const ModelConfig& config) {
  ModelConfig rows = config;
  rows.segment_length += 2 * config.attention.memory_tokens;
  return rows;
}

/// Where the rows of one segment of each lane come from and go to.
struct Frame {
  enum Source : std::int64_t { tokens, carried, initial };

  std::vector<RowPick> enter;    // of the rows that pass through the layers
  std::vector<RowPick> leave;    // of these, the tokens'
  std::vector<RowPick> written;  // of these, the rows that become the memory
  SequenceLayout layout;         // of the rows
};

/// Appends the memory rows that a document reads, or that are written for it.
void append_memory(std::vector<RowPick>& picks, bool carried, std::int64_t lane, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    picks.push_back(carried ? RowPick{Frame::carried, lane * count + i} : RowPick{Frame::initial, i});
  }
}

/// A span of the layout becomes the rows in front, its tokens and, if it is the lane's last, the rows behind. Lanes
/// with fewer rows than others are filled up with rows that nobody sees.
Frame frame_of(const SequenceLayout& of_tokens, std::int64_t count) {
  if (of_tokens.segments_per_lane != 1) {
    throw ShapeError(
        fmt::format("memory tokens go around one segment at a time, but there are {}", of_tokens.segments_per_lane));
  }
  Frame frame;
  std::vector<std::vector<RowPick>> of_lanes;
  std::vector<std::vector<Span>> spans;
  std::vector<std::int64_t> row_in_lane;  // of each token
  std::int64_t rows = 0;
  auto span = of_tokens.spans.begin();
  for (const Segment& segment : of_tokens.segments) {
    const std::int64_t lane = segment.begin / of_tokens.tokens, end = segment.begin + segment.length;
    std::vector<RowPick>& picks = of_lanes.emplace_back();
    std::vector<Span>& of_lane = spans.emplace_back();
    for (; span != of_tokens.spans.end() && span->begin < end; ++span) {
      const bool goes_on = span->begin == segment.begin && segment.carried > 0;
      const auto begin = static_cast<std::int64_t>(picks.size());
      append_memory(picks, goes_on, lane, count);
      for (std::int64_t i = 0; i < span->length; ++i) {
        row_in_lane.push_back(static_cast<std::int64_t>(picks.size()));
        picks.push_back({Frame::tokens, span->begin + i});
      }
      if (span->begin + span->length == end) append_memory(picks, goes_on, lane, count);
      of_lane.push_back({.begin = begin, .length = static_cast<std::int64_t>(picks.size()) - begin});
    }
    rows = std::max(rows, static_cast<std::int64_t>(picks.size()));
  }

  frame.layout.lanes = of_tokens.lanes;
  frame.layout.tokens = rows;
  frame.layout.segments_per_lane = 1;
  frame.layout.last_document = of_tokens.last_document;
  for (std::int64_t lane = 0; lane < of_tokens.lanes; ++lane) {
    std::vector<RowPick>& picks = of_lanes[static_cast<std::size_t>(lane)];
    const auto used = static_cast<std::int64_t>(picks.size());
    for (std::int64_t i = used - count; i < used; ++i) frame.written.push_back({0, lane * rows + i});
    for (std::int64_t i = 0; i < of_tokens.tokens; ++i) {
      frame.leave.push_back({0, lane * rows + row_in_lane[static_cast<std::size_t>(lane * of_tokens.tokens + i)]});
    }
    picks.resize(static_cast<std::size_t>(rows));
    frame.enter.insert(frame.enter.end(), picks.begin(), picks.end());
    std::vector<Span>& of_lane = spans[static_cast<std::size_t>(lane)];
    if (used < rows) of_lane.push_back({.begin = used, .length = rows - used});
    for (Span& one : of_lane) {
      one.begin += lane * rows;
      frame.layout.spans.push_back(one);
    }
    frame.layout.segments.push_back({.begin = lane * rows, .length = rows});
  }
  return frame;
}

}  // namespace

RecurrentMemoryAttention::RecurrentMemoryAttention(const ModelConfig& config, const std::string& prefix,
                                                   ParameterFactory& factory)
    : rows_(over_rows(config), prefix, factory), memory_tokens_(config.attention.memory_tokens) {}

Attention::Result RecurrentMemoryAttention::forward(const ForwardContext& context, const Variable& x,
                                                    const Variable& residual, const LayerVariables& state) const {
  return rows_.forward(context, x, residual, state);
}

LayerState RecurrentMemoryAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  return rows_.empty_state(pool, lanes);
}

LayerState RecurrentMemoryAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return rows_.empty_segment(pool, lanes);
}

Variable RecurrentMemoryAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                                          const LayerState& state, LayerState& segment) const {
  return rows_.decode(context, x, residual, state, segment);
}

void RecurrentMemoryAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row,
                                            std::int64_t tokens, const RotaryTable& rotary, std::int64_t lane,
                                            LayerState& segment) const {
  rows_.open_segment(pool, open, row, memory_tokens_ + tokens, rotary, lane, segment);
}

void RecurrentMemoryAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                              std::span<const std::int64_t> read, const LayerState& segment,
                                              LayerState& state) const {
  rows_.finish_segment(pool, lanes, read, segment, state);
}

RecurrentMemory::RecurrentMemory(const ModelConfig& config, ParameterFactory& factory)
    : count_(config.attention.memory_tokens),
      initial_(factory.create("memory_tokens.weight", ParameterRole::embedding, {count_, config.hidden_size})) {}

LayerState RecurrentMemory::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  return {{"memory", Tensor::zeros(pool, Shape{lanes, count_, initial_.shape()[1]}, initial_.data_type())}};
}

ModelMemory::Framed RecurrentMemory::enter(const ForwardContext& context, const Variable& x,
                                           const LayerVariables& state) const {
  Frame frame = frame_of(*context.layout, count_);
  Framed framed{take_rows(*context.tape, {x, state[0], initial_}, std::move(frame.enter), context.layout->lanes),
                context};
  framed.context.layout = std::make_shared<const SequenceLayout>(std::move(frame.layout));
  return framed;
}

ModelMemory::Left RecurrentMemory::leave(const ForwardContext& context, const Variable& x) const {
  Frame frame = frame_of(*context.layout, count_);
  const std::int64_t lanes = context.layout->lanes;
  return {take_rows(*context.tape, {x}, std::move(frame.leave), lanes),
          {take_rows(*context.tape, {x}, std::move(frame.written), lanes)}};
}

Tensor RecurrentMemory::rows_of(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                std::span<const std::int64_t> read, const LayerState& state) const {
  std::vector<RowPick> picks;
  for (std::size_t i = 0; i < lanes.size(); ++i) append_memory(picks, read[i] > 0, lanes[i], count_);
  for (RowPick& pick : picks) pick.source -= Frame::carried;
  Tape tape(pool, Tape::Mode::inference);
  return take_rows(tape, {Variable(state[0].tensor), initial_}, picks, static_cast<std::int64_t>(lanes.size())).value();
}

void RecurrentMemory::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes, const Tensor& rows,
                                     LayerState& state) const {
  replace_lanes(pool, state, lanes, {{state[0].name, rows}});
}

namespace {

/// FLOPs per token of a layer: attention over a segment's rows, and what the rows beside its tokens take of the
/// matrices.
double flops(const ModelConfig& c, std::int64_t tokens) {
  const std::int64_t beside = 2 * c.attention.memory_tokens;
  double total = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += c.segment_length) {
    const std::int64_t rows = std::min(c.segment_length, tokens - begin) + beside;
    total += causal_attention_flops(c, rows, rows) * static_cast<double>(rows);
    total += 2.0 * static_cast<double>(beside * layer_matrix_parameters(c));
  }
  return total / static_cast<double>(tokens);
}

}  // namespace

const AttentionTraits recurrent_memory_attention_traits = {
    .name = "recurrent_memory",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<RecurrentMemoryAttention>(config, prefix, factory); },
    .shares_sequences = false,
    .constant_state = true,
    .parallel_segments = false,
    .parameters = [](const ModelConfig& c) { return c.attention.memory_tokens * c.hidden_size; },
    .rotary_positions = [](const ModelConfig& c, std::int64_t,
                           std::int64_t) { return c.segment_length + 2 * c.attention.memory_tokens; },
    .flops = flops,
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      AttentionBytes bytes = local_attention_traits.bytes(c, size);
      bytes.state = size.lanes * c.attention.memory_tokens * c.hidden_size * size.element / c.num_layers;
      return bytes;
    },
    .kept_numbers = [](const ModelConfig& c, std::int64_t) { return c.attention.memory_tokens * c.hidden_size; },
    .make_model_memory = [](const ModelConfig& config, ParameterFactory& factory) -> std::unique_ptr<ModelMemory> {
      return std::make_unique<RecurrentMemory>(config, factory);
    },
    .rows_beside_segment = [](const ModelConfig& c) { return 2 * c.attention.memory_tokens; }};

}  // namespace palimpsest
