#include "layers/attention/full_attention.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/attention.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rows.h"
#include "layers/attention/document_rows.h"
#include "layers/attention/open_segment.h"

namespace palimpsest {

namespace {

/// The layout's documents without segments: a span is all of a document's tokens, and where the lane's document goes
/// on, `before` of its tokens stand in front.
LayoutPointer whole_documents(const SequenceLayout& layout, const std::vector<std::int64_t>& before) {
  SequenceLayout whole = layout;
  whole.spans.clear();
  auto span = layout.spans.begin();
  for (const Segment& segment : layout.segments) {
    const std::int64_t lane = segment.begin / layout.tokens;
    const bool first = segment.begin % layout.tokens == 0;
    for (; span != layout.spans.end() && span->begin < segment.begin + segment.length; ++span) {
      const bool continues = span->begin == segment.begin && segment.carried > 0;
      if (continues && !first) {
        whole.spans.back().length += span->length;
        continue;
      }
      const std::int64_t in_front = continues ? before[static_cast<std::size_t>(lane)] : 0;
      whole.spans.push_back(
          {.begin = span->begin, .length = span->length, .position = in_front, .keys_before = in_front});
    }
  }
  return std::make_shared<const SequenceLayout>(std::move(whole));
}

/// Tokens of the longest document that a lane ends with.
std::int64_t longest_last_document(const SequenceLayout& whole) {
  std::int64_t longest = 0;
  for (const Span& span : whole.spans) {
    if ((span.begin + span.length) % whole.tokens == 0) longest = std::max(longest, span.keys_before + span.length);
  }
  return longest;
}

}  // namespace

FullAttention::FullAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : projections_(config, prefix, factory), segment_length_(config.segment_length) {}

Attention::Result FullAttention::forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                                         const LayerVariables& state) const {
  Tape& tape = *context.tape;
  const Projections& p = projections_;
  const Variable key = p.keys(tape, x, context.deferred);
  const Variable value = p.values(tape, x, context.deferred);
  const Variable query = p.queries(tape, x, context.deferred);
  const Variable keys = append_rows(tape, state[0], key), values = append_rows(tape, state[1], value);
  const LayoutPointer layout = whole_documents(*context.layout, *context.tokens_before);
  const Variable attended = local_attention(tape, query, keys, values, layout, p.counts, context.rotary);
  const std::int64_t kept = longest_last_document(*layout);
  return {linear_add(tape, attended, p.output, residual, context.deferred),
          {last_rows(tape, keys, kept), last_rows(tape, values, kept)},
          {key, value}};
}

LayerState FullAttention::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  const auto none = [&] { return Tensor(pool, Shape{lanes, 0, projections_.kv_size()}, projections_.type); };
  return {{"key", none()}, {"value", none()}};
}

LayerState FullAttention::empty_segment(MemoryPool& pool, std::int64_t lanes) const {
  return open_segment::empty(pool, projections_, lanes, segment_length_);
}

Variable FullAttention::decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                               const LayerState& state, LayerState& segment) const {
  constexpr std::int64_t all = std::numeric_limits<std::int64_t>::max();
  return document_rows::decode(context, projections_, x, residual, state, all, segment);
}

void FullAttention::open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                                 const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const {
  open_segment::assign(pool, projections_, open, row, tokens, rotary, lane, segment);
}

void FullAttention::finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes,
                                   std::span<const std::int64_t> read, const LayerState& segment,
                                   LayerState& state) const {
  const std::int64_t longest = std::ranges::max(read), width = projections_.kv_size();
  LayerState after = select_lanes(pool, state, lanes);
  for (std::size_t i = 0; i < after.size(); ++i) {
    const StateTensor& added = i == 0 ? open_segment::key(segment) : open_segment::value(segment);
    Tensor rows = Tensor::zeros(pool, Shape{static_cast<std::int64_t>(lanes.size()), longest + segment_length_, width},
                                projections_.type);
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const auto row = static_cast<std::int64_t>(lane);
      const std::int64_t count = read[lane] + segment_length_;
      Tensor last = rows.rows(row, row + 1).reshaped(Shape{rows.shape()[1], width});
      last = last.rows(rows.shape()[1] - count, rows.shape()[1]);
      copy(document_rows::so_far(pool, state[i], read[lane], added, segment_length_, lanes[lane]), last);
    }
    after[i].tensor = rows;
  }
  replace_lanes(pool, state, lanes, after);
}

const AttentionTraits full_attention_traits = {
    .name = "full",
    .make = [](const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
        -> std::unique_ptr<Attention> { return std::make_unique<FullAttention>(config, prefix, factory); },
    .shares_sequences = false,
    .constant_state = false,
    .parameters = [](const ModelConfig&) -> std::int64_t { return 0; },
    .rotary_positions = [](const ModelConfig&, std::int64_t before, std::int64_t tokens) { return before + tokens; },
    .flops = [](const ModelConfig& c, std::int64_t tokens) { return causal_attention_flops(c, tokens, tokens); },
    .bytes = [](const ModelConfig& c, const PassSize& size) -> AttentionBytes {
      const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
      return {.kept = size.element * (2 * queries + 2 * keys),
              .working = size.element * (2 * queries + 2 * keys),
              .state = size.lanes * size.tokens * 2 * keys * size.element};
    },
    .kept_numbers = [](const ModelConfig& c,
                       std::int64_t tokens) { return c.num_layers * tokens * 2 * c.num_kv_heads * c.head_size; }};

}  // namespace palimpsest
