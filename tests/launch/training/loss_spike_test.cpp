// Which losses are spikes.
#include "launch/training/loss_spike.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

LossSpikeConfig config(std::int64_t window = 20) {
  return {.policy = LossSpikePolicy::warn, .window = window, .threshold = 10};
}

/// Losses near 3, spread about 0.07.
double ordinary(int step) { return 3.0 + 0.1 * std::sin(static_cast<double>(step)); }

LossSpikeDetector after_ordinary_steps(int steps, std::int64_t window = 20) {
  LossSpikeDetector detector(config(window));
  for (int step = 0; step < steps; ++step) EXPECT_FALSE(detector.look(ordinary(step)));
  return detector;
}

TEST(LossSpike, AJumpIsOneAndAFallIsNot) {
  LossSpikeDetector detector = after_ordinary_steps(40);
  EXPECT_FALSE(detector.look(0.5));
  const auto spike = detector.look(6.0);
  ASSERT_TRUE(spike);
  EXPECT_NEAR(spike->median, 3.0, 0.1);
  EXPECT_NE(spike->describe().find("the loss 6 is a spike"), std::string::npos) << spike->describe();
  EXPECT_FALSE(detector.look(3.2));
}

TEST(LossSpike, NothingIsJudgedBeforeTheWindowIsHalfFull) {
  LossSpikeDetector detector = after_ordinary_steps(9);
  EXPECT_FALSE(detector.look(100));
  EXPECT_TRUE(detector.look(100)) << "ten losses are half of twenty, and one of them is wild";
}

TEST(LossSpike, OffSeesNothing) {
  LossSpikeDetector detector({.policy = LossSpikePolicy::off, .window = 20, .threshold = 10});
  for (int step = 0; step < 40; ++step) detector.look(ordinary(step));
  EXPECT_FALSE(detector.look(1e9));
}

TEST(LossSpike, WhatIsNotFiniteDoesNotPoisonTheWindow) {
  LossSpikeDetector detector = after_ordinary_steps(40);
  for (int i = 0; i < 30; ++i) {
    EXPECT_FALSE(detector.look(std::numeric_limits<double>::quiet_NaN()));
    EXPECT_FALSE(detector.look(std::numeric_limits<double>::infinity()));
  }
  EXPECT_FALSE(detector.look(3.1));
  EXPECT_TRUE(detector.look(6.0));
}

TEST(LossSpike, ALevelThatStaysIsNoSpikeForLong) {
  LossSpikeDetector detector = after_ordinary_steps(40);
  int spikes = 0;
  for (int step = 0; step < 40; ++step) spikes += detector.look(3 + ordinary(step)).has_value();
  EXPECT_GE(spikes, 5);
  EXPECT_LE(spikes, 12);
}

TEST(LossSpike, ALossThatNeverVariesMakesNoSpikeOfATrifle) {
  LossSpikeDetector detector(config());
  for (int i = 0; i < 30; ++i) EXPECT_FALSE(detector.look(2.0));
  EXPECT_FALSE(detector.look(2.1));
  EXPECT_TRUE(detector.look(2.3));
}

TEST(LossSpike, ARestoredWindowJudgesAlike) {
  LossSpikeDetector whole = after_ordinary_steps(40), resumed(config()), narrower(config(4));
  resumed.restore(whole.window());
  EXPECT_EQ(resumed.window(), whole.window());
  EXPECT_EQ(whole.look(3.9).has_value(), resumed.look(3.9).has_value());
  EXPECT_TRUE(resumed.look(9.0));
  narrower.restore(whole.window());
  EXPECT_EQ(narrower.window().size(), 4u);
  EXPECT_EQ(narrower.window().back(), whole.window().back());
}

}  // namespace
}  // namespace palimpsest
