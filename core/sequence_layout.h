// Where segments and documents lie in a batch of token sequences: the one description by which
// local attention, memory read and memory write know what a token may see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace palimpsest {

/// One segment of one lane. Token indices are rows of the (lanes * tokens)-row activation matrix.
struct Segment {
  std::int64_t begin = 0;     // first row
  std::int64_t length = 0;    // tokens, at most the segment length
  std::int64_t carried = 0;   // leading tokens that continue the document in memory: they read it
  std::int64_t kept = 0;      // tokens before the segment's last document begins: they are not written
  bool keeps_memory = false;  // the document in memory is also the segment's last: its memory goes on
};

/// A run of tokens of one document within one segment: causal attention happens inside it, and over so many keys as
/// stand directly in front of it and belong to it as well.
struct Span {
  std::int64_t begin = 0;     // first row
  std::int64_t length = 0;    // tokens
  std::int64_t position = 0;  // RoPE position of the first token, counted from the segment's start
  /// Keys in front of the first token that all tokens see, at the positions before it: at most `position`.
  std::int64_t keys_before = 0;
};

struct SequenceLayout {
  std::int64_t lanes = 0;
  std::int64_t tokens = 0;  // per lane
  std::int64_t segments_per_lane = 0;
  std::vector<Segment> segments;  // (lanes, segments_per_lane)
  std::vector<Span> spans;        // in row order
  /// The document in memory after the last segment, per lane.
  std::vector<std::int64_t> last_document;
  /// (lanes, tokens): how much each token writes to the memory (core/kernels/memory.h), empty where all write once.
  std::vector<float> write_weights = {};

  std::int64_t rows() const { return lanes * tokens; }
  const Segment& segment(std::int64_t lane, std::int64_t index) const {
    return segments[static_cast<std::size_t>(lane * segments_per_lane + index)];
  }
};

/// No document is in memory.
inline constexpr std::int64_t no_document = -1;

/// The layout of `lanes` sequences whose tokens belong to `documents` (lanes x tokens; non-negative,
/// never decreasing within a lane), cut into segments of `segment_length` from the first token, when
/// the memory of lane i holds document `carried[i]` (or no_document) and tokens write as `write_weights` says (lanes x
/// tokens, or empty). Throws ShapeError on a mismatch of sizes, a document index that decreases or is negative, or a
/// weight that is negative or not finite.
SequenceLayout make_layout(std::span<const std::int64_t> documents, std::span<const std::int64_t> carried,
                           std::int64_t segment_length, std::span<const float> write_weights = {});

/// The same for values that are written under the key of the token before: what a segment writes begins with the second
/// token of its last document, and a token behind one of weight 0 has no key to be written under.
SequenceLayout shifted_writes(SequenceLayout layout);

/// Segment `index` of every lane by itself, without write weights. All lanes' are equally long.
SequenceLayout segment_layout(const SequenceLayout& layout, std::int64_t index);

}  // namespace palimpsest
