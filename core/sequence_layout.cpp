#include "core/sequence_layout.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

void check_documents(std::span<const std::int64_t> documents, std::int64_t lane) {
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (documents[i] < 0 || (i > 0 && documents[i] < documents[i - 1])) {
      throw ShapeError(fmt::format("document index {} at token {} of lane {} must not be negative or decrease",
                                   documents[i], i, lane));
    }
  }
}

void check_write_weights(std::span<const float> weights, std::size_t tokens) {
  if (!weights.empty() && weights.size() != tokens) {
    throw ShapeError(fmt::format("{} write weights for {} tokens", weights.size(), tokens));
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0.0f) || !std::isfinite(weights[i])) {
      throw ShapeError(fmt::format("write weight {} of token {} must be finite and not negative", weights[i], i));
    }
  }
}

/// Appends the runs of equal documents of one segment.
void append_spans(std::span<const std::int64_t> documents, std::int64_t first_row, std::vector<Span>& spans) {
  const auto count = static_cast<std::int64_t>(documents.size());
  for (std::int64_t begin = 0; begin < count;) {
    std::int64_t end = begin + 1;
    while (end < count && documents[static_cast<std::size_t>(end)] == documents[static_cast<std::size_t>(begin)]) ++end;
    spans.push_back({first_row + begin, end - begin, begin});
    begin = end;
  }
}

}  // namespace

SequenceLayout make_layout(std::span<const std::int64_t> documents, std::span<const std::int64_t> carried,
                           std::int64_t segment_length, std::span<const float> write_weights) {
  const auto lanes = static_cast<std::int64_t>(carried.size());
  const auto total = static_cast<std::int64_t>(documents.size());
  if (lanes == 0 || total % lanes != 0 || total == 0 || segment_length <= 0) {
    throw ShapeError(fmt::format("layout: {} tokens for {} lanes in segments of {}", total, lanes, segment_length));
  }
  check_write_weights(write_weights, documents.size());
  SequenceLayout layout;
  layout.write_weights.assign(write_weights.begin(), write_weights.end());
  layout.lanes = lanes;
  layout.tokens = total / lanes;
  layout.segments_per_lane = (layout.tokens + segment_length - 1) / segment_length;
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    const auto row =
        documents.subspan(static_cast<std::size_t>(lane * layout.tokens), static_cast<std::size_t>(layout.tokens));
    check_documents(row, lane);
    std::int64_t in_memory = carried[static_cast<std::size_t>(lane)];
    if (row.front() < in_memory) {
      throw ShapeError(fmt::format("lane {} goes on with document {} after document {}", lane, row.front(), in_memory));
    }
    for (std::int64_t begin = 0; begin < layout.tokens; begin += segment_length) {
      const auto part = row.subspan(static_cast<std::size_t>(begin),
                                    static_cast<std::size_t>(std::min(segment_length, layout.tokens - begin)));
      Segment segment;
      segment.begin = lane * layout.tokens + begin;
      segment.length = static_cast<std::int64_t>(part.size());
      segment.carried = in_memory == no_document ? 0 : std::ranges::count(part, in_memory);
      segment.kept = std::ranges::find(part, part.back()) - part.begin();
      segment.keeps_memory = in_memory == part.back();
      in_memory = part.back();
      layout.segments.push_back(segment);
      append_spans(part, segment.begin, layout.spans);
    }
    layout.last_document.push_back(in_memory);
  }
  return layout;
}

SequenceLayout shifted_writes(SequenceLayout layout) {
  std::vector<float>& weights = layout.write_weights;
  if (weights.empty()) weights.assign(static_cast<std::size_t>(layout.rows()), 1.0f);
  for (const Segment& segment : layout.segments) {
    float before = 0;
    for (std::int64_t row = segment.begin + segment.kept; row < segment.begin + segment.length; ++row) {
      float& weight = weights[static_cast<std::size_t>(row)];
      const float own = weight;
      if (before == 0) weight = 0;
      before = own;
    }
  }
  return layout;
}

SequenceLayout segment_layout(const SequenceLayout& layout, std::int64_t index) {
  SequenceLayout only;
  only.lanes = layout.lanes;
  only.tokens = layout.segment(0, index).length;
  only.segments_per_lane = 1;
  only.last_document = layout.last_document;
  auto span = layout.spans.begin();
  for (std::int64_t lane = 0; lane < layout.lanes; ++lane) {
    Segment segment = layout.segment(lane, index);
    const std::int64_t begin = segment.begin, end = begin + segment.length;
    segment.begin = lane * only.tokens;
    only.segments.push_back(segment);
    while (span != layout.spans.end() && span->begin < begin) ++span;
    for (; span != layout.spans.end() && span->begin < end; ++span) {
      only.spans.push_back(*span);
      only.spans.back().begin += segment.begin - begin;
    }
  }
  return only;
}

}  // namespace palimpsest
