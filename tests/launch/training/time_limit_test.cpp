// When train.time_limit makes a step the last one.
#include "launch/training/time_limit.h"

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

using Clock = TimeLimit::Clock;

Clock::time_point at(double seconds) {
  return Clock::time_point() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Whether a step of one second that ends now is the last one.
bool reached(const TimeLimit& limit, double now, bool evaluation_due = false) {
  return limit.reached(at(now), at(now - 1), evaluation_due);
}

TEST(TimeLimit, NoneIsNeverReached) { EXPECT_FALSE(reached(TimeLimit(0, at(0)), 1e9)); }

TEST(TimeLimit, LeavesTimeForAnotherStepAndItsCheckpoint) {
  TimeLimit limit(1000, at(0));
  limit.step_took(1);
  limit.save_took(19);
  EXPECT_FALSE(reached(limit, 974));  // 974 + 1.25 * (1 + 19) = 999
  EXPECT_TRUE(reached(limit, 976));
}

TEST(TimeLimit, TheLongestSaveCountsAndASlowStepIsForgotten) {
  TimeLimit limit(1000, at(0));
  limit.save_took(40);
  limit.save_took(4);
  EXPECT_TRUE(reached(limit, 950));
  limit.step_took(400);
  EXPECT_TRUE(reached(limit, 500));
  for (int i = 0; i < 300; ++i) limit.step_took(1);
  EXPECT_FALSE(reached(limit, 500));
}

TEST(TimeLimit, AnEvaluationThatWouldFollowNeedsTimeToo) {
  TimeLimit limit(1000, at(0));
  limit.save_took(1);
  limit.evaluation_took(100);
  EXPECT_FALSE(reached(limit, 900, /*evaluation_due=*/false));
  EXPECT_TRUE(reached(limit, 900, /*evaluation_due=*/true));
}

TEST(TimeLimit, BeforeTheFirstSaveATenthIsKeptButNoMoreThanAMinute) {
  EXPECT_FALSE(reached(TimeLimit(100, at(0)), 80));
  EXPECT_TRUE(reached(TimeLimit(100, at(0)), 90));
  EXPECT_FALSE(reached(TimeLimit(100000, at(0)), 99900));
  EXPECT_TRUE(reached(TimeLimit(100000, at(0)), 99930));
}

TEST(TimeLimit, TheStepInHandCountsBeforeOneIsKnown) {
  TimeLimit limit(100, at(0));
  limit.save_took(1);
  EXPECT_FALSE(limit.reached(at(50), at(20), false));
  EXPECT_TRUE(limit.reached(at(50), at(5), false)) << "another 45 seconds would not leave time to save";
}

}  // namespace
}  // namespace palimpsest
