// SharedMemoryWrite as one of its ranks sees it: when it waits for the others. What it computes, tests/layers/
// sequence_parallel_test.cpp shows.
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/ops/memory_scan.h"
#include "core/tensor.h"
#include "tests/autograd/first_of_two.h"

namespace palimpsest {
namespace {

class SharedMemoryWriteOverlap : public ::testing::TestWithParam<bool> {};

TEST_P(SharedMemoryWriteOverlap, AnExchangeIsUnderWayBetweenTheStepsOnlyIfItMay) {
  const bool overlaps = GetParam();
  constexpr std::int64_t lanes = 1, tokens = 8, segment = 2, size = 4;
  MemoryPool pool;
  FirstOfTwo ranks;
  const std::vector<std::int64_t> documents(tokens, 0);
  const SequenceGroup group{.ranks = &ranks,
                            .share = std::make_shared<const SequenceShare>(
                                share_sequence(documents, std::vector{no_document}, segment, 0, 2)),
                            .overlaps = overlaps};
  const auto constant = [&](Shape shape, double number) {
    Tensor tensor(pool, shape, DataType::float32);
    fill(tensor, number);
    return tensor;
  };
  const Shape half{lanes, tokens / 2, size};
  const Variable key = Variable::leaf(constant(half, 0.5)), value = Variable::leaf(constant(half, 0.25));
  const LayerMemory empty{Variable(constant({lanes, 1, size, size}, 0)), Variable(constant({lanes, 1, size}, 0))};
  Tape tape(pool, Tape::Mode::record);

  SharedMemoryWrite write(tape, group, key, empty, {1, 1, size}, {.delta = true, .epsilon = 1e-6});
  EXPECT_EQ(ranks.under_way, overlaps ? 1 : 0);
  write.start(value);
  EXPECT_EQ(ranks.under_way, overlaps ? 1 : 0);
  const MemoryWrite written = write.finish();
  EXPECT_EQ(ranks.under_way, 0);

  for (const Variable& state : {written.before.matrix, written.before.norm}) {
    auto seed = state.gradient_target(pool);
    fill(seed.view, 1.0);
  }
  tape.backward_from_gradients();
  EXPECT_EQ(ranks.under_way, 0);
  EXPECT_TRUE(key.has_gradient());
}

INSTANTIATE_TEST_SUITE_P(Both, SharedMemoryWriteOverlap, ::testing::Bool());

}  // namespace
}  // namespace palimpsest
