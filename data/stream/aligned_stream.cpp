#include "data/stream/aligned_stream.h"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "data/stream/source_parts.h"
#include "data/stream/source_seed.h"

namespace palimpsest {

AlignedStream::AlignedStream(std::shared_ptr<const TokenFile> file, const SourceShape& shape, std::int64_t segments)
    : file_(std::move(file)), shape_(shape), segments_(segments) {
  if (shape.batch_size < 1 || shape.segment_length < 1 || segments < 1) {
    throw ConfigError(fmt::format("{}: {} lanes, segments of {} tokens, {} of them before a target", name(),
                                  shape.batch_size, shape.segment_length, segments));
  }
  if (segments > (shape.sequence_length - 1) / shape.segment_length) {
    throw ConfigError(
        fmt::format("data.segments_before_targets is {}, {} tokens each: train.sequence_length {} has no room for "
                    "targets behind them",
                    segments, shape.segment_length, shape.sequence_length));
  }
  units_ = window_units(*file_, shape.sequence_length, segments * shape.segment_length);
  if (static_cast<std::int64_t>(units_.size()) < shape.batch_size) {  // where short ones share a window
    units_ = window_units(*file_, shape.sequence_length, segments * shape.segment_length, shape.batch_size);
  }
  if (static_cast<std::int64_t>(units_.size()) < shape.batch_size) {
    throw DataError(fmt::format(
        "{}: has {} documents, each of which is read whole in one lane, but train.batch_size is {}: expected "
        "as many or more",
        name(), units_.size(), shape.batch_size));
  }
  for (std::vector<std::size_t>& units : balanced_groups(units_, shape.batch_size)) {
    std::vector<std::int64_t> offsets{0};
    for (const std::size_t unit : units) offsets.push_back(offsets.back() + units_[unit].windows);
    windows_ += offsets.back();
    groups_.push_back({std::move(units), std::move(offsets)});
  }
}

AlignedStream::Place AlignedStream::place(std::int64_t lane, Lane& reader) const {
  std::int64_t round = steps_ / windows_ * shape_.batch_size, in_round = steps_ % windows_;
  std::size_t index = 0;
  for (;; ++round) {
    index = static_cast<std::size_t>((lane + round) % shape_.batch_size);
    if (in_round < groups_[index].offsets.back()) break;
    in_round -= groups_[index].offsets.back();
  }
  const Group& group = groups_[index];
  if (reader.round != round) {
    reader.order = std::make_unique<const DocumentOrder>(group.offsets, source_seed(shape_.seed, index), round);
    reader.round = round;
  }
  const DocumentOrder::Place place = reader.order->place(in_round);
  return {group.units[static_cast<std::size_t>(place.document)], place.offset};
}

void AlignedStream::fill(const Place& place, TokenWindow& window, std::int64_t row, TokenBatch& batch) const {
  const WindowUnit& unit = units_[place.unit];
  const std::int64_t length = shape_.sequence_length;
  // Places of the unit, and of its lane: a document is known by the place in the lane where it begins.
  const std::int64_t begin = place.window * length, lane_begin = (steps_ - place.window) * length;
  const std::int64_t text_end = unit.front + unit.tokens;
  for (std::int64_t at = begin; at < begin + length;) {
    const auto target = static_cast<std::size_t>(row * length + at - begin);
    std::int64_t end = begin + length, document_begin = 0;
    if (at >= unit.front && at < text_end) {
      const std::int64_t token = unit.begin + at - unit.front;
      const std::span<const std::int64_t> offsets = file_->document_offsets();
      const auto next = std::ranges::upper_bound(offsets, token);
      end = std::min(end, at + *next - token);
      document_begin = unit.front + *(next - 1) - unit.begin;
      fill_text(*file_, window, {token, token + end - at}, *next, target, batch);
    } else {
      document_begin = at < unit.front ? 0 : text_end;
      if (at < unit.front) end = std::min(end, unit.front);
      std::fill_n(batch.inputs.begin() + static_cast<std::ptrdiff_t>(target), end - at, file_->end_id());
    }
    std::fill_n(batch.documents.begin() + static_cast<std::ptrdiff_t>(target), end - at, lane_begin + document_begin);
    at = end;
  }
}

TokenBatch AlignedStream::next(LaneRun lanes) {
  require_lanes(lanes, shape_.batch_size);
  TokenBatch batch = empty_batch(lanes, shape_.sequence_length);
  for (std::int64_t row = 0; row < lanes.count; ++row) {
    Lane& reader = lanes_[lanes.first + row];
    fill(place(lanes.first + row, reader), reader.window, row, batch);
  }
  ++steps_;
  return batch;
}

nlohmann::json AlignedStream::task() const {
  return {{"data", file_->checksum()},
          {"seed", shape_.seed},
          {"batch_size", shape_.batch_size},
          {"sequence_length", shape_.sequence_length},
          {"segment_length", shape_.segment_length},
          {"segments_before_targets", segments_}};
}

nlohmann::json AlignedStream::state() const {
  return {{"kind", "aligned"}, {"task", task()}, {"steps", static_cast<std::uint64_t>(steps_)}};
}

void AlignedStream::restore(const nlohmann::json& state) {
  steps_ = restored_steps(state,
                          {.kind = "aligned",
                           .whose = name(),
                           .expected = "one with data.segments_before_targets",
                           .sequence_length = shape_.sequence_length},
                          task());
}

std::string AlignedStream::description() const {
  const auto places = static_cast<double>(windows_ * shape_.sequence_length);
  return fmt::format("{}: {} tokens in {} documents, read whole in {} lanes, {:.1f} % of the places empty", name(),
                     file_->token_count(), file_->document_count(), shape_.batch_size,
                     100 * (1 - static_cast<double>(file_->token_count()) / places));
}

}  // namespace palimpsest
