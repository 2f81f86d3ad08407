#include "core/overlapping_layout.h"

#include <algorithm>

namespace palimpsest {

SequenceLayout overlapping(SequenceLayout layout, std::span<const std::int64_t> before, std::int64_t overlap) {
  for (Span& span : layout.spans) span.position += overlap;
  auto span = layout.spans.begin();
  for (std::int64_t lane = 0; lane < layout.lanes; ++lane) {
    std::int64_t read = before[static_cast<std::size_t>(lane)];  // of the document that the next segment may continue
    for (std::int64_t slot = 0; slot < layout.segments_per_lane; ++slot) {
      const Segment& segment = layout.segment(lane, slot);
      while (span->begin < segment.begin) ++span;
      if (segment.carried > 0) span->keys_before = std::min(overlap, read);
      read = segment.carried == segment.length ? read + segment.length : segment.length - segment.kept;
    }
  }
  return layout;
}

}  // namespace palimpsest
