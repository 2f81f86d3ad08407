// Which segments each of several ranks holds, and what the memory does on its way through them.
#include "core/sequence_share.h"

#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"

namespace palimpsest {
namespace {

std::vector<SequenceShare> shares(const std::vector<std::int64_t>& documents, const std::vector<std::int64_t>& carried,
                                  std::int64_t segment_length, int ranks) {
  std::vector<SequenceShare> all;
  for (int rank = 0; rank < ranks; ++rank) {
    all.push_back(share_sequence(documents, carried, segment_length, rank, ranks));
  }
  return all;
}

TEST(SequenceShare, RunsAreWholeSegmentsAndDifferByOneAtMost) {
  for (const std::int64_t tokens : {1, 7, 8, 27, 64}) {
    for (const int ranks : {1, 2, 3, 4, 8}) {
      const std::vector<std::int64_t> documents(static_cast<std::size_t>(tokens), 0);
      const std::int64_t segments = (tokens + 7) / 8;
      std::int64_t next = 0, longest = 0;
      for (const SequenceShare& share : shares(documents, {no_document}, 8, ranks)) {
        EXPECT_EQ(share.begin, next);
        next = share.end;
        longest = std::max(longest, share.end - share.begin);
        const std::int64_t count = share.idle() ? 0 : share.layout.segments_per_lane;
        EXPECT_TRUE(count == segments / ranks || count == (segments + ranks - 1) / ranks) << count;
        EXPECT_TRUE(share.begin % 8 == 0 || share.idle());
        EXPECT_EQ(share.layout.tokens, share.idle() ? 1 : share.end - share.begin);
      }
      EXPECT_EQ(next, tokens);
      EXPECT_EQ(longest_share(tokens, 8, ranks), longest);
    }
  }
}

TEST(SequenceShare, TogetherTheLayoutsAreThatOfTheWhole) {
  // Two lanes of five segments of four, the last one short; a document starts in mid-segment, at a
  // boundary, twice in a segment.
  std::vector<std::int64_t> documents{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3,
                                      5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6};
  const std::vector<std::int64_t> carried{0, 4};
  const SequenceLayout whole = make_layout(documents, carried, 4);
  for (const int ranks : {1, 2, 3, 5, 8}) {
    const auto all = shares(documents, carried, 4, ranks);
    for (std::int64_t lane = 0; lane < 2; ++lane) {
      std::int64_t slot = 0;
      for (const SequenceShare& share : all) {
        EXPECT_EQ(share.last_document, whole.last_document);
        bool passes = true;
        for (std::int64_t i = 0; i < (share.idle() ? 0 : share.layout.segments_per_lane); ++i, ++slot) {
          const Segment &mine = share.layout.segment(lane, i), &there = whole.segment(lane, slot);
          EXPECT_EQ(mine.length, there.length);
          EXPECT_EQ(mine.carried, there.carried);
          EXPECT_EQ(mine.kept, there.kept);
          EXPECT_EQ(mine.keeps_memory, there.keeps_memory);
          passes = passes && there.keeps_memory;
        }
        for (const SequenceShare& other : all) EXPECT_EQ(other.lets_pass(share.rank, lane), passes);
      }
      EXPECT_EQ(slot, whole.segments_per_lane);
    }
  }
}

TEST(SequenceShare, TokensAreThoseOfTheRunInEveryLane) {
  TokenBatch batch{2, 6, {}, {}, std::vector<std::int64_t>(12, 0), std::vector<float>(12, 1.0f)};
  batch.inputs.resize(12);
  std::iota(batch.inputs.begin(), batch.inputs.end(), 0);
  batch.targets = batch.inputs;
  const auto all = shares(batch.documents, {0, 0}, 2, 4);
  EXPECT_TRUE(all[0].idle());
  const TokenBatch nothing = tokens_of(all[0], batch), last = tokens_of(all[3], batch);
  EXPECT_EQ(nothing.loss_weights, (std::vector<float>{0, 0}));
  EXPECT_EQ(nothing.inputs.size(), 2u);
  EXPECT_EQ(last.inputs, (std::vector<std::int32_t>{4, 5, 10, 11}));
  EXPECT_EQ(last.tokens, 2);
}

TEST(SequenceShare, AnIdleRankLeavesTheMemoryAsItIs) {
  const SequenceShare share = share_sequence(std::vector<std::int64_t>(4, 7), std::vector<std::int64_t>{7}, 4, 0, 2);
  ASSERT_TRUE(share.idle());
  EXPECT_TRUE(share.lets_pass(0, 0));
  const Segment& segment = share.layout.segment(0, 0);
  EXPECT_EQ(segment.carried, 0);
  EXPECT_EQ(segment.kept, segment.length);
  EXPECT_TRUE(segment.keeps_memory);
  EXPECT_EQ(reach_of_memory(share.layout, 0), 1);
}

TEST(SequenceShare, RefusesARankThatIsNotThere) {
  EXPECT_THROW(share_sequence(std::vector<std::int64_t>(4, 0), std::vector<std::int64_t>{0}, 4, 2, 2), ShapeError);
}

}  // namespace
}  // namespace palimpsest
