#include "layers/attention/document_rows.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/head_views.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rows.h"
#include "core/kernels/decode_attention.h"
#include "layers/attention/open_segment.h"

namespace palimpsest::document_rows {

LayerState empty(MemoryPool& pool, const Projections& projections, std::int64_t lanes, std::int64_t rows) {
  const Shape shape{lanes, rows, projections.kv_size()};
  const auto none = [&] { return Tensor::zeros(pool, shape, projections.type); };
  return {{"key", none()}, {"value", none()}};
}

std::vector<std::int64_t> tokens_in_front(const SequenceLayout& layout, const std::vector<std::int64_t>& before) {
  std::vector<std::int64_t> in_front;
  auto span = layout.spans.begin();
  std::int64_t read = 0;  // tokens of the last span's document, up to its end
  for (const Segment& segment : layout.segments) {
    if (segment.begin % layout.tokens == 0) read = before[static_cast<std::size_t>(segment.begin / layout.tokens)];
    for (; span != layout.spans.end() && span->begin < segment.begin + segment.length; ++span) {
      if (span->begin > segment.begin || segment.carried == 0) read = 0;
      in_front.push_back(read);
      read += span->length;
    }
  }
  return in_front;
}

Tensor so_far(MemoryPool& pool, const StateTensor& state, std::int64_t count, const StateTensor& segment,
              std::int64_t open, std::int64_t lane) {
  const std::int64_t stored = state.tensor.shape()[1], width = segment.tensor.shape()[2];
  Tensor rows(pool, Shape{count + open, width}, segment.tensor.data_type());
  Tensor first = rows.rows(0, count), second = rows.rows(count, count + open);
  if (count > 0) copy(open_segment::lane_of(state, lane).rows(stored - count, stored), first);
  copy(open_segment::lane_of(segment, lane).rows(0, open), second);
  return rows;
}

Variable decode(const DecodeContext& context, const Projections& p, const Variable& x, const Variable& residual,
                const LayerState& state, std::int64_t most, LayerState& segment) {
  Tape& tape = *context.tape;
  const Variable query = p.queries(tape, x), key = p.keys(tape, x), value = p.values(tape, x);
  open_segment::append(context, p, key.value(), value.value(), segment);
  Tensor attended(tape.pool(), query.shape(), p.type);
  dispatch(p.type, [&]<class T>() {
    for (std::size_t row = 0; row < context.lanes.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const std::int64_t lane = context.lanes[row], open = context.positions[row] + 1;
      const std::int64_t read = std::min(context.read[row], most);
      Tensor keys = so_far(tape.pool(), state[0], read, open_segment::key(segment), open, lane);
      const Tensor values = so_far(tape.pool(), state[1], read, open_segment::value(segment), open, lane);
      open_segment::rotate_rows(p, keys, 0, *context.rotary, keys);
      Tensor output = attended.rows(at, at + 1);
      const DecodeAttention<T> attention{
          .query = head_rows<T>(query.value().rows(at, at + 1), p.counts.heads, p.counts.head_size),
          .rotated_keys = head_rows<T>(std::as_const(keys), p.counts.kv_heads, p.counts.head_size),
          .values = head_rows<T>(values, p.counts.kv_heads, p.counts.head_size),
          .memory = {}};
      decode_attention(tape.pool(), attention, read + open - 1, *context.rotary,
                       head_rows<T>(output, p.counts.heads, p.counts.head_size));
    }
  });
  return linear_add(tape, Variable(attended), p.output, residual);
}

void append(MemoryPool& pool, std::span<const std::int64_t> lanes, const LayerState& segment, LayerState& state) {
  LayerState after = select_lanes(pool, state, lanes);
  const LayerState written = select_lanes(pool, segment, lanes);
  Tape tape(pool, Tape::Mode::inference);
  const auto put = [&](StateTensor& rows, const StateTensor& more) {
    const std::int64_t kept = rows.tensor.shape()[1];
    rows.tensor = last_rows(tape, append_rows(tape, Variable(rows.tensor), Variable(more.tensor)), kept).value();
  };
  put(after[0], open_segment::key(written));
  put(after[1], open_segment::value(written));
  replace_lanes(pool, state, lanes, after);
}

}  // namespace palimpsest::document_rows
