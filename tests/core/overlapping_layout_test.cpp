#include "core/overlapping_layout.h"

#include <vector>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(OverlappingLayout, SegmentsSeeWhatTheirDocumentHasInFrontOfThem) {
  // Segments of 4: a document carried in with 2 tokens, then one that starts at token 3 and goes on.
  const std::vector<std::int64_t> documents{7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 9, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
  const std::vector<std::int64_t> carried{7, no_document}, before{2, 0};
  const SequenceLayout plain = make_layout(documents, carried, 4);
  const SequenceLayout layout = overlapping(plain, before, 3);
  std::vector<std::int64_t> seen;
  for (std::size_t i = 0; i < layout.spans.size(); ++i) {
    EXPECT_EQ(layout.spans[i].begin, plain.spans[i].begin);
    EXPECT_EQ(layout.spans[i].length, plain.spans[i].length);
    EXPECT_EQ(layout.spans[i].position, plain.spans[i].position + 3);
    seen.push_back(layout.spans[i].keys_before);
  }
  // Lane 0: 7 7 7 | 8 | 8 8 8 8 | 8 8 | 9, lane 1: segments of 4, 4 and 3.
  EXPECT_EQ(seen, (std::vector<std::int64_t>{2, 0, 1, 3, 0, 0, 3, 3}));
}

TEST(OverlappingLayout, AnotherDocumentInFrontIsNotSeen) {
  const std::vector<std::int64_t> documents{8, 8, 8}, carried{7}, before{20};
  const SequenceLayout layout = overlapping(make_layout(documents, carried, 2), before, 2);
  ASSERT_EQ(layout.spans.size(), 2u);
  EXPECT_EQ(layout.spans[0].keys_before, 0);
  EXPECT_EQ(layout.spans[1].keys_before, 2);
}

}  // namespace
}  // namespace palimpsest
