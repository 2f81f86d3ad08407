#include "core/sequence_layout.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

using Documents = std::vector<std::int64_t>;

TEST(SequenceLayout, CutsSegmentsAndDocuments) {
  const Documents documents{3, 3, 3, 3, 3, 4, 4, 5, 5, 5};
  const Documents carried{3};
  const SequenceLayout layout = make_layout(documents, carried, 4);
  ASSERT_EQ(layout.segments_per_lane, 3);
  const Segment& first = layout.segment(0, 0);
  EXPECT_EQ(first.carried, 4);
  EXPECT_EQ(first.kept, 0);
  EXPECT_TRUE(first.keeps_memory);
  const Segment& second = layout.segment(0, 1);  // 3 4 4 5
  EXPECT_EQ(second.begin, 4);
  EXPECT_EQ(second.carried, 1);
  EXPECT_EQ(second.kept, 3);
  EXPECT_FALSE(second.keeps_memory);
  const Segment& third = layout.segment(0, 2);  // 5 5, shorter
  EXPECT_EQ(third.length, 2);
  EXPECT_EQ(third.carried, 2);
  EXPECT_TRUE(third.keeps_memory);
  EXPECT_EQ(layout.last_document, Documents{5});
  ASSERT_EQ(layout.spans.size(), 5u);
  EXPECT_EQ(layout.spans[2].begin, 5);
  EXPECT_EQ(layout.spans[2].length, 2);
  EXPECT_EQ(layout.spans[2].position, 1);
}

TEST(SequenceLayout, NothingIsReadFromAnEmptyMemory) {
  const Documents documents{0, 0, 0, 0};
  const Documents carried{no_document};
  const SequenceLayout layout = make_layout(documents, carried, 2);
  EXPECT_EQ(layout.segment(0, 0).carried, 0);
  EXPECT_FALSE(layout.segment(0, 0).keeps_memory);
  EXPECT_EQ(layout.segment(0, 1).carried, 2);
}

TEST(SequenceLayout, LanesAreApart) {
  const Documents documents{7, 7, 8, 8}, carried{7, 7};
  const SequenceLayout layout = make_layout(documents, carried, 2);
  EXPECT_EQ(layout.segment(0, 0).carried, 2);
  EXPECT_EQ(layout.segment(1, 0).carried, 0);
  EXPECT_EQ(layout.segment(1, 0).begin, 2);
}

TEST(SequenceLayout, RefusesWhatMakesNoSense) {
  const Documents falling{1, 0}, negative{-1, 0}, behind{2, 2}, one{no_document}, ahead{3};
  EXPECT_THROW(make_layout(falling, one, 2), ShapeError);
  EXPECT_THROW(make_layout(negative, one, 2), ShapeError);
  EXPECT_THROW(make_layout(behind, ahead, 2), ShapeError);
  EXPECT_THROW(make_layout(behind, one, 0), ShapeError);
  EXPECT_THROW(make_layout(Documents{}, one, 2), ShapeError);
}

TEST(SequenceLayout, WriteWeightsAreCheckedAndKept) {
  const Documents documents{0, 0, 0, 0}, carried{0, 0};
  const std::vector<float> weights{1, 0, 2.5f, 1};
  EXPECT_TRUE(make_layout(documents, carried, 2).write_weights.empty());
  EXPECT_EQ(make_layout(documents, carried, 2, weights).write_weights, weights);
  EXPECT_THROW(make_layout(documents, carried, 2, std::vector<float>{1, 1}), ShapeError);
  for (const float wrong : {-1.0f, INFINITY, NAN}) {
    EXPECT_THROW(make_layout(documents, carried, 2, std::vector<float>{1, 1, wrong, 1}), ShapeError);
  }
}

TEST(SequenceLayout, ShiftedWritesNeedAKeyBeforeTheirValue) {
  // Segments of four: a document that goes on, and one that begins inside the second; then two of one token.
  const Documents documents{0, 0, 0, 0, 0, 1, 1, 1, /**/ 0, 0, 0, 0, 0, 0, 1, 2}, carried{no_document, 0};
  const SequenceLayout layout = shifted_writes(make_layout(documents, carried, 4));
  EXPECT_EQ(layout.write_weights, (std::vector<float>{0, 1, 1, 1, 1, 0, 1, 1, /**/ 0, 1, 1, 1, 1, 1, 1, 0}));
  const std::vector<float> weights{2, 3, 0, 4, 1, 1, 5, 0, /**/ 0, 0, 6, 7, 1, 1, 1, 1};
  EXPECT_EQ(shifted_writes(make_layout(documents, carried, 4, weights)).write_weights,
            (std::vector<float>{0, 3, 0, 0, 1, 0, 5, 0, /**/ 0, 0, 0, 7, 1, 1, 1, 0}));
}

}  // namespace
}  // namespace palimpsest
