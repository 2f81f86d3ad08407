#include "core/sequence_share.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// The first token of a rank's run.
std::int64_t run_begin(std::int64_t tokens, std::int64_t segment_length, int rank, int ranks) {
  const std::int64_t segments = (tokens + segment_length - 1) / segment_length;
  return std::min(segments * rank / ranks * segment_length, tokens);
}

/// Columns [begin, end) of `width` columns in every lane.
template <class T>
std::vector<T> columns(std::span<const T> values, std::int64_t width, std::int64_t begin, std::int64_t end) {
  std::vector<T> part;
  const auto total = static_cast<std::int64_t>(values.size());
  for (std::int64_t row = 0; row < total; row += width) {
    part.insert(part.end(), values.begin() + row + begin, values.begin() + row + end);
  }
  return part;
}

/// One token in every lane that takes no part in anything.
SequenceLayout idle_layout(std::span<const std::int64_t> documents) {
  SequenceLayout layout;
  layout.lanes = static_cast<std::int64_t>(documents.size());
  layout.tokens = layout.segments_per_lane = 1;
  for (std::int64_t lane = 0; lane < layout.lanes; ++lane) {
    layout.segments.push_back({lane, 1, 0, 1, true});
    layout.spans.push_back({lane, 1, 0});
  }
  layout.last_document.assign(documents.begin(), documents.end());
  return layout;
}

}  // namespace

SequenceShare share_sequence(std::span<const std::int64_t> documents, std::span<const std::int64_t> carried,
                             std::int64_t segment_length, int rank, int ranks, std::span<const float> write_weights) {
  if (rank < 0 || rank >= ranks)
    throw ShapeError(fmt::format("share_sequence: there is no rank {} of {}", rank, ranks));
  SequenceShare share;
  share.rank = rank;
  share.ranks = ranks;
  const SequenceLayout whole = make_layout(documents, carried, segment_length, write_weights);
  std::vector<std::int64_t> in_memory(carried.begin(), carried.end());
  for (int holder = 0; holder < ranks; ++holder) {
    const std::int64_t begin = run_begin(whole.tokens, segment_length, holder, ranks);
    const std::int64_t end = run_begin(whole.tokens, segment_length, holder + 1, ranks);
    share.tokens.push_back(end - begin);
    share.segments.push_back((end - begin + segment_length - 1) / segment_length);
    for (std::int64_t lane = 0; lane < whole.lanes; ++lane) {
      bool passes = true;
      for (std::int64_t at = begin; at < end; at += segment_length) {
        passes = passes && whole.segment(lane, at / segment_length).keeps_memory;
      }
      share.passes.push_back(passes ? 1 : 0);
    }
    if (holder == rank) {
      share.begin = begin;
      share.end = end;
      share.layout = begin == end ? idle_layout(in_memory)
                                  : make_layout(columns(documents, whole.tokens, begin, end), in_memory, segment_length,
                                                columns(write_weights, whole.tokens, begin, end));
    }
    if (begin < end) in_memory = columns(documents, whole.tokens, end - 1, end);
  }
  share.last_document = whole.last_document;
  return share;
}

std::int64_t longest_share(std::int64_t tokens, std::int64_t segment_length, int ranks) {
  std::int64_t longest = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    longest = std::max(
        longest, run_begin(tokens, segment_length, rank + 1, ranks) - run_begin(tokens, segment_length, rank, ranks));
  }
  return longest;
}

TokenBatch tokens_of(const SequenceShare& share, const TokenBatch& whole) {
  if (share.idle()) {
    const auto lanes = static_cast<std::size_t>(whole.lanes);
    return {whole.lanes,
            1,
            std::vector<std::int32_t>(lanes, 0),
            std::vector<std::int32_t>(lanes, 0),
            share.layout.last_document,
            std::vector<float>(lanes, 0.0f)};
  }
  return columns_of(whole, share.begin, share.end);
}

std::int64_t reach_of_memory(const SequenceLayout& layout, std::int64_t lane) {
  std::int64_t reach = 0;
  while (reach < layout.segments_per_lane && layout.segment(lane, reach).keeps_memory) ++reach;
  return reach;
}

}  // namespace palimpsest
