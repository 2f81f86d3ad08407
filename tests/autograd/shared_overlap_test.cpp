// SharedOverlap as one of its ranks sees it: when it waits for the others, and what it refuses. What it computes,
// tests/layers/sequence_parallel_test.cpp shows.
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/shared_overlap.h"
#include "core/error.h"
#include "core/tensor.h"
#include "tests/autograd/first_of_two.h"

namespace palimpsest {
namespace {

constexpr std::int64_t lanes = 1, tokens = 8, segment = 2, overlap = 2, width = 4;

class SharedOverlapOfOneRank : public ::testing::TestWithParam<bool> {
 protected:
  SequenceGroup group() {
    const std::vector<std::int64_t> documents(tokens, 0);
    return {.ranks = &ranks,
            .share = std::make_shared<const SequenceShare>(
                share_sequence(documents, std::vector{no_document}, segment, 0, 2)),
            .overlaps = GetParam()};
  }
  Tensor rows(std::int64_t count, double number) {
    Tensor tensor(pool, {lanes, count, width}, DataType::float32);
    fill(tensor, number);
    return tensor;
  }

  MemoryPool pool;
  FirstOfTwo ranks;
};

TEST_P(SharedOverlapOfOneRank, AnExchangeIsUnderWayBetweenTheStepsOnlyIfItMay) {
  const Variable key = Variable::leaf(rows(tokens / 2, 0.5)), value = Variable::leaf(rows(tokens / 2, 0.25));
  Tape tape(pool, Tape::Mode::record);
  SharedOverlap shared(tape, group(), {key, value}, {Variable(rows(overlap, 1)), Variable(rows(overlap, 2))});
  EXPECT_EQ(ranks.under_way, GetParam() ? 1 : 0);
  const SharedOverlap::Result result = shared.finish();
  EXPECT_EQ(ranks.under_way, 0);
  EXPECT_EQ(result.rows.key.shape(), (Shape{lanes, overlap + tokens / 2, width}));
  EXPECT_EQ(result.rows.key.value().to_doubles().front(), 1) << "the first rank's front is what was before";
  EXPECT_EQ(result.rows.key.value().to_doubles().back(), 0.5);
  EXPECT_EQ(result.after.value.value().to_doubles().front(), 0.25);

  auto seed = result.rows.key.gradient_target(pool);
  fill(seed.view, 1.0);
  tape.backward_from_gradients();
  EXPECT_EQ(ranks.under_way, 0);
  // Its own gradient, and for the last rows what the second rank, which says the same, has found in front of it.
  const std::vector<double> once(width, 1), twice(width, 2);
  for (std::int64_t row = 0; row < tokens / 2; ++row) {
    const Tensor all = key.gradient().reshaped({tokens / 2, width});
    EXPECT_EQ(all.rows(row, row + 1).to_doubles(), row < tokens / 2 - overlap ? once : twice) << row;
  }
}

TEST_P(SharedOverlapOfOneRank, RefusesAGradientIntoWhatWasBefore) {
  const Variable mine = Variable::leaf(rows(tokens / 2, 0.5)), before(rows(overlap, 1));
  Tape tape(pool, Tape::Mode::record);
  EXPECT_THROW(SharedOverlap(tape, group(), {mine, mine}, {Variable::leaf(rows(overlap, 1)), before}), ShapeError);
  EXPECT_THROW(SharedOverlap(tape, group(), {mine, Variable(rows(3, 1))}, {before, before}), ShapeError);
}

INSTANTIATE_TEST_SUITE_P(Both, SharedOverlapOfOneRank, ::testing::Bool());

}  // namespace
}  // namespace palimpsest
