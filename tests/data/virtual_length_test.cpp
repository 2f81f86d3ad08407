// Virtual length: how weights are drawn, and those of a token file's segments.
#include "data/stream/virtual_length.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/open_source.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

TEST(VirtualLength, WeightsAreWholeNumbersOfEveryMagnitudeUpToTheMost) {
  int by_magnitude[5] = {}, plain = 0;
  for (std::uint64_t sequence = 0; sequence < 2000; ++sequence) {
    Draws draws(Random(1, RandomPurpose::test, sequence));
    const VirtualLength virtual_length(10'000, draws);
    float largest = 0;
    for (int segment = 0; segment < 32; ++segment) {
      const float weight = virtual_length.segment_weight(draws);
      EXPECT_EQ(weight, std::floor(weight));
      EXPECT_GE(weight, 1.0f);
      EXPECT_LT(weight, 10'000.0f);
      largest = std::max(largest, weight);
    }
    plain += largest == 1.0f;
    ++by_magnitude[static_cast<int>(std::log10(largest))];
  }
  // 15 % without repetition, and of the rest those whose longest is below 2: ln 2 of ln 10,000.
  EXPECT_NEAR(plain / 2000.0, 0.15 + 0.85 * std::log(2.0) / std::log(10'000.0), 0.03);
  for (int magnitude = 1; magnitude < 4; ++magnitude) EXPECT_NEAR(by_magnitude[magnitude] / 2000.0, 0.85 / 4, 0.04);
}

TEST(VirtualLength, OneIsNoRepetition) {
  Draws draws(Random(1, RandomPurpose::test));
  const VirtualLength virtual_length(1, draws);
  for (int segment = 0; segment < 100; ++segment) EXPECT_EQ(virtual_length.segment_weight(draws), 1.0f);
}

class VirtualLengthOfText : public testing::Test {
 protected:
  VirtualLengthOfText() {
    write_token_file(directory_ / "tokens.h5", {500, 300, 900});
    config_.train = (directory_ / "tokens.h5").string();
    config_.virtual_length = 100;
  }
  TemporaryDirectory directory_;
  DataConfig config_;
  const SourceShape shape_{.seed = 4, .batch_size = 4, .sequence_length = 20, .segment_length = 8};
};

TEST_F(VirtualLengthOfText, SegmentsHaveOneWeightEachWhateverTheRanks) {
  const auto whole = open_source(config_, shape_), part = open_source(config_, shape_),
             later = open_source(config_, shape_);
  bool any = false;
  for (int step = 0; step < 6; ++step) {
    if (step == 3) later->restore(whole->state());
    const TokenBatch all = whole->next({0, 4}), two = part->next({1, 2});
    EXPECT_EQ(two.write_weights, std::vector<float>(all.write_weights.begin() + 20, all.write_weights.begin() + 60));
    if (step >= 3) {
      EXPECT_EQ(later->next({0, 4}).write_weights, all.write_weights);
    }
    for (std::size_t lane = 0; lane < 4; ++lane) {
      for (std::size_t t = 0; t < 20; ++t) {
        EXPECT_EQ(all.write_weights[lane * 20 + t], all.write_weights[lane * 20 + t / 8 * 8]) << "within a segment";
      }
      any = any || all.write_weights[lane * 20] != all.write_weights[lane * 20 + 8];
    }
  }
  EXPECT_TRUE(any) << "segments differ";
}

TEST_F(VirtualLengthOfText, WithoutItTheTextIsWhatItIs) {
  const TokenBatch with = open_source(config_, shape_)->next({0, 4});
  config_.virtual_length = 1;
  const TokenBatch without = open_source(config_, shape_)->next({0, 4});
  EXPECT_TRUE(without.write_weights.empty());
  EXPECT_EQ(with.inputs, without.inputs);
}

TEST_F(VirtualLengthOfText, ASourceIsWhatTheConfigurationNames) {
  EXPECT_NE(open_source(config_, shape_)->description().find("1706 tokens in 3 documents"), std::string::npos)
      << open_source(config_, shape_)->description();
  config_.train.clear();
  EXPECT_THROW(open_source(config_, shape_), ConfigError);
  config_.kind = DataKind::passkey;
  SourceShape shape = shape_;
  shape.segment_length = shape.sequence_length = 256;
  EXPECT_EQ(open_source(config_, shape)->name(), "the passkey prompts");
}

}  // namespace
}  // namespace palimpsest
