#include "layers/attention/open_segment.h"

#include <utility>

#include <fmt/format.h>

#include "autograd/ops/head_views.h"
#include "autograd/ops/linear.h"
#include "core/error.h"
#include "core/kernels/decode_attention.h"

namespace palimpsest::open_segment {

void rotate_rows(const Projections& projections, const Tensor& keys, std::int64_t first, const RotaryTable& rotary,
                 Tensor& rotated) {
  const std::int64_t d = projections.counts.head_size, width = projections.kv_size();
  dispatch(projections.type, [&]<class T>() {
    for (std::int64_t head = 0; head < projections.counts.kv_heads; ++head) {
      rotate(keys.data<T>() + head * d, width, rotated.data<T>() + head * d, width, keys.shape()[0], first, rotary,
             false);
    }
  });
}

namespace {

/// Rows [begin, begin + rows) of a lane get `source`.
void put(const StateTensor& entry, std::int64_t lane, std::int64_t begin, const Tensor& source) {
  Tensor rows = lane_of(entry, lane).rows(begin, begin + source.shape()[0]);
  copy(source, rows);
}

void put_all(const Projections& projections, const Tensor& keys, const Tensor& values, std::int64_t begin,
             const RotaryTable& rotary, std::int64_t lane, LayerState& segment) {
  put(key(segment), lane, begin, keys);
  put(value(segment), lane, begin, values);
  Tensor rotated = lane_of(rotated_key(segment), lane).rows(begin, begin + keys.shape()[0]);
  rotate_rows(projections, keys, begin, rotary, rotated);
}

}  // namespace

LayerState empty(MemoryPool& pool, const Projections& projections, std::int64_t lanes, std::int64_t segment_length) {
  const Shape shape{lanes, segment_length, projections.kv_size()};
  const auto room = [&] { return Tensor::zeros(pool, shape, projections.type); };
  return {{"key", room()}, {"rotated_key", room()}, {"value", room()}};
}

Tensor lane_of(const StateTensor& entry, std::int64_t lane) {
  const Shape& shape = entry.tensor.shape();
  return entry.tensor.rows(lane, lane + 1).reshaped(Shape{shape[1], shape[2]});
}

void append(const DecodeContext& context, const Projections& projections, const Tensor& key, const Tensor& value,
            LayerState& segment, std::int64_t in_front) {
  make_unique(context.tape->pool(), segment);
  const std::int64_t room = segment.front().tensor.shape()[1] - in_front;
  const Shape row{1, projections.kv_size()};
  for (std::size_t i = 0; i < context.lanes.size(); ++i) {
    const std::int64_t position = context.positions[i], at = static_cast<std::int64_t>(i);
    if (position < 0 || position >= room) {
      throw ShapeError(fmt::format("decode: position {} of lane {} is outside its segment of {} tokens", position,
                                   context.lanes[i], room));
    }
    put_all(projections, key.rows(at, at + 1).reshaped(row), value.rows(at, at + 1).reshaped(row), in_front + position,
            *context.rotary, context.lanes[i], segment);
  }
}

void put_in_front(MemoryPool& pool, const Projections& projections, const Tensor& keys, const Tensor& values,
                  const RotaryTable& rotary, std::int64_t lane, LayerState& segment) {
  make_unique(pool, segment);
  put_all(projections, keys, values, 0, rotary, lane, segment);
}

void assign(MemoryPool& pool, const Projections& projections, const LayerVariables& keys_and_values, std::int64_t row,
            std::int64_t tokens, const RotaryTable& rotary, std::int64_t lane, LayerState& segment) {
  make_unique(pool, segment);
  const auto rows = [&](const Variable& all) {
    const Shape& shape = all.shape();
    return all.value().rows(row, row + 1).reshaped(Shape{shape[1], shape[2]}).rows(0, tokens);
  };
  put_all(projections, rows(keys_and_values[0]), rows(keys_and_values[1]), 0, rotary, lane, segment);
}

Variable decode_local(const DecodeContext& context, const Projections& p, const Variable& x, const Variable& query,
                      LayerState& segment) {
  Tape& tape = *context.tape;
  const Variable key_of_x = p.keys(tape, x);
  append(context, p, key_of_x.value(), p.values(tape, x).value(), segment);
  Tensor attended(tape.pool(), query.shape(), p.type);
  dispatch(p.type, [&]<class T>() {
    for (std::size_t row = 0; row < context.lanes.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const Tensor keys = lane_of(rotated_key(segment), context.lanes[row]);
      const Tensor values = lane_of(value(segment), context.lanes[row]);
      Tensor output = attended.rows(at, at + 1);
      const DecodeAttention<T> attention{
          .query = head_rows<T>(query.value().rows(at, at + 1), p.counts.heads, p.counts.head_size),
          .rotated_keys = head_rows<T>(keys, p.counts.kv_heads, p.counts.head_size),
          .values = head_rows<T>(values, p.counts.kv_heads, p.counts.head_size),
          .memory = {}};
      decode_attention(tape.pool(), attention, context.positions[row], *context.rotary,
                       head_rows<T>(output, p.counts.heads, p.counts.head_size));
    }
  });
  return Variable(attended);
}

}  // namespace palimpsest::open_segment
