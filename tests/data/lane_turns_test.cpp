#include "data/stream/lane_turns.h"

#include <cmath>
#include <map>
#include <vector>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(LaneTurns, WholeLanesNeverChangeHands) {
  const std::vector<double> shares = {0.75, 0.25};
  const LaneTurns turns(shares, 8);
  EXPECT_EQ(turns.lanes(0), 6);
  EXPECT_EQ(turns.lanes(1), 2);
  for (std::int64_t step = 0; step < 200; ++step) {
    for (std::int64_t lane = 0; lane < 8; ++lane) {
      const LaneTurns::Place place = turns.at(lane, step);
      EXPECT_EQ(place.holder, lane < 6 ? 0u : 1u);
      EXPECT_EQ(place.lane, lane % 6);
      EXPECT_EQ(place.steps, step);
      EXPECT_EQ(place.since, 0);
    }
  }
}

TEST(LaneTurns, SharesHoldAtAnyStep) {
  const std::vector<double> shares = {0.613, 0.08, 0.3, 0.007};
  for (const std::int64_t lanes : {1, 2, 3, 8, 13}) {
    const LaneTurns turns(shares, lanes);
    std::vector<double> had(shares.size());
    for (std::int64_t step = 0; step < 3200; ++step) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) had[turns.at(lane, step).holder] += 1;
      if (step % LaneTurns::turn != LaneTurns::turn - 1) continue;
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const double due = shares[i] * static_cast<double>(lanes * (step + 1));
        EXPECT_NEAR(had[i], due, 4) << "holder " << i << " of " << lanes << " lanes after step " << step;
      }
    }
  }
}

TEST(LaneTurns, AnyStepIsWhatCountingComesTo) {
  const std::vector<double> shares = {0.45, 0.35, 0.2};
  const LaneTurns turns(shares, 3);
  std::map<std::pair<std::size_t, std::int64_t>, std::int64_t> steps;  // by holder and lane of the batch
  std::map<std::int64_t, std::pair<std::size_t, std::int64_t>> last;   // by lane: holder, and since when
  for (std::int64_t step = 0; step < 2100; ++step) {
    for (std::int64_t lane = 0; lane < 3; ++lane) {
      const LaneTurns::Place place = turns.at(lane, step);
      ASSERT_EQ(place.steps, (steps[{place.holder, lane}]++)) << step;
      if (step == 0 || last[lane].first != place.holder) last[lane] = {place.holder, step};
      ASSERT_EQ(place.since, last[lane].second) << step;
      ASSERT_LT(place.lane, turns.lanes(place.holder));
      ASSERT_TRUE(turns.has_any(place.holder, step));
    }
  }
}

}  // namespace
}  // namespace palimpsest
