#include "core/token_batch.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(TokenBatch, IsCutByLanesAndColumnsWithAllItsArrays) {
  const TokenBatch batch{.lanes = 3,
                         .tokens = 2,
                         .inputs = {0, 1, 2, 3, 4, 5},
                         .targets = {1, 2, 3, 4, 5, 6},
                         .documents = {7, 7, 8, 9, 9, 9},
                         .loss_weights = {1, 0, 1, 0.5f, 0, 1},
                         .write_weights = {0, 2, 1, 1, 9, 3},
                         .queries = {0, 1, 2, 0, 3, 3}};
  const TokenBatch lanes = lanes_of(batch, 1, 3);
  EXPECT_EQ(lanes.lanes, 2);
  EXPECT_EQ(lanes.tokens, 2);
  EXPECT_EQ(lanes.inputs, (std::vector<std::int32_t>{2, 3, 4, 5}));
  EXPECT_EQ(lanes.targets, (std::vector<std::int32_t>{3, 4, 5, 6}));
  EXPECT_EQ(lanes.documents, (std::vector<std::int64_t>{8, 9, 9, 9}));
  EXPECT_EQ(lanes.loss_weights, (std::vector<float>{1, 0.5f, 0, 1}));
  EXPECT_EQ(lanes.write_weights, (std::vector<float>{1, 1, 9, 3}));
  EXPECT_EQ(lanes.queries, (std::vector<std::int32_t>{2, 0, 3, 3}));
  const TokenBatch columns = columns_of(batch, 1, 2);
  EXPECT_EQ(columns.lanes, 3);
  EXPECT_EQ(columns.tokens, 1);
  EXPECT_EQ(columns.inputs, (std::vector<std::int32_t>{1, 3, 5}));
  EXPECT_EQ(columns.targets, (std::vector<std::int32_t>{2, 4, 6}));
  EXPECT_EQ(columns.documents, (std::vector<std::int64_t>{7, 9, 9}));
  EXPECT_EQ(columns.loss_weights, (std::vector<float>{0, 0.5f, 1}));
  EXPECT_EQ(columns.write_weights, (std::vector<float>{2, 1, 3}));
  EXPECT_EQ(columns.queries, (std::vector<std::int32_t>{1, 0, 3}));
}

TEST(TokenBatch, WithoutWriteWeightsItsPartsHaveNone) {
  const TokenBatch batch{2, 1, {0, 1}, {1, 2}, {7, 7}, {1, 0}};
  EXPECT_TRUE(lanes_of(batch, 0, 1).write_weights.empty());
  EXPECT_TRUE(columns_of(batch, 0, 1).write_weights.empty());
}

}  // namespace
}  // namespace palimpsest
