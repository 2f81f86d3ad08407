// Which silence is too long, and who follows whom.
#include "launch/ranks/silence.h"

#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "tests/launch/ranks/example_heartbeat.h"

namespace palimpsest {
namespace {

using Clock = SilenceJudge::Clock;
using Heartbeats = std::vector<std::optional<Heartbeat>>;

Clock::time_point at(double seconds) {
  return Clock::time_point() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Looks every second for as long as `heartbeats(second)` gives; what was found wrong, and when.
std::string verdict(SilenceJudge judge, int seconds, const std::function<Heartbeats(int)>& heartbeats) {
  for (int second = 0; second <= seconds; ++second) {
    if (const auto wrong = judge.look(at(second), heartbeats(second))) return std::to_string(second) + " s: " + *wrong;
  }
  return "";
}

TEST(Silence, EverybodyAlive) {
  EXPECT_EQ(verdict(SilenceJudge({0, 1}, 2, 10, 1), 100,
                    [](int t) {
                      return Heartbeats{heartbeat(0, t), heartbeat(1, t)};
                    }),
            "");
}

TEST(Silence, ARankThatStoppedIsNamedWithItsPhase) {
  const std::string found = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [](int t) {
    return Heartbeats{heartbeat(0, t), heartbeat(1, std::min(t, 20), Phase::optimizer)};
  });
  EXPECT_EQ(found,
            "30 s: rank 1 on node1 (process 101) of 2 has given no sign of life for 10 s; last phase: step 12, "
            "optimizer");
}

TEST(Silence, ARankThatNeverCameOrHasLeft) {
  EXPECT_EQ(verdict(SilenceJudge({0, 1}, 2, 10, 1), 100,
                    [](int t) {
                      return Heartbeats{heartbeat(0, t), {}};
                    }),
            "10 s: rank 1 of 2 has given no sign of life for 10 s");
  const std::string found = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [](int t) {
    return Heartbeats{heartbeat(0, t), heartbeat(1, std::min(t, 5), t < 5 ? Phase::forward : Phase::finished)};
  });
  EXPECT_NE(found.find("has left early"), std::string::npos) << found;
}

TEST(Silence, ARankThatBeatsButDoesNotGetOn) {
  const std::string found = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [](int t) {
    Heartbeat stuck = heartbeat(1, t, Phase::data);
    stuck.alive = stuck.progress = 3;
    return Heartbeats{heartbeat(0, t), stuck};
  });
  EXPECT_NE(found.find("neither computed nor come any further for 10 s; last phase: step 12, reading data"),
            std::string::npos)
      << found;
}

TEST(Silence, WaitingForEachOther) {
  const auto still = [](int rank, int t, Phase phase) {
    Heartbeat beat = heartbeat(rank, t, phase);
    beat.progress = 3;
    return beat;
  };
  const auto waiting = [&](int rank, int t, Phase phase) {
    Heartbeat beat = still(rank, t, phase);
    beat.waiting = true;
    return beat;
  };
  const std::string found = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [&](int t) {
    return Heartbeats{waiting(0, t, Phase::communication), waiting(1, t, Phase::communication)};
  });
  EXPECT_NE(found.find("all 2 ranks have waited for each other in step 12, communication"), std::string::npos) << found;
  // One has left by another door.
  const std::string apart = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [&](int t) {
    Heartbeats beats = {waiting(0, t, Phase::communication), waiting(1, t, Phase::communication)};
    beats[1].value().step = 11;
    return beats;
  });
  EXPECT_NE(
      apart.find("all 2 ranks have waited for each other, rank 1 on node1 (process 101) in step 11, communication, "
                 "and rank 0 on node0 (process 100) in step 12, communication, for"),
      std::string::npos)
      << apart;
  // Wherever they wait.
  const std::string inside = verdict(SilenceJudge({0, 1}, 2, 10, 1), 100, [&](int t) {
    return Heartbeats{waiting(0, t, Phase::forward), waiting(1, t, Phase::evaluating)};
  });
  EXPECT_NE(inside.find("all 2 ranks have waited for each other"), std::string::npos) << inside;
  // One that computes keeps the others waiting for as long as it likes.
  EXPECT_EQ(verdict(SilenceJudge({0, 1}, 2, 10, 1), 100,
                    [&](int t) {
                      return Heartbeats{waiting(0, t, Phase::communication), still(1, t, Phase::forward)};
                    }),
            "");
}

TEST(Silence, ATimeInWhichNobodyCouldLookIsNoSilence) {
  SilenceJudge judge({0, 1}, 2, 10, 1);
  EXPECT_FALSE(judge.look(at(0), {heartbeat(0, 0), heartbeat(1, 0)}));
  EXPECT_FALSE(judge.look(at(1), {heartbeat(0, 1), heartbeat(1, 1)}));
  EXPECT_FALSE(judge.look(at(10000), {heartbeat(0, 2), heartbeat(1, 1)})) << "all were suspended";
  EXPECT_FALSE(judge.look(at(10001), {heartbeat(0, 3), heartbeat(1, 2)}));
}

TEST(Silence, ARankOfTheJobBeforeIsAnotherProcess) {
  SilenceJudge judge({0}, 1, 10, 1);
  Heartbeat before = heartbeat(0, 500);
  Heartbeat now = heartbeat(0, 500);
  now.process = 7;
  EXPECT_FALSE(judge.look(at(0), {before}));
  for (int t = 1; t < 9; ++t) EXPECT_FALSE(judge.look(at(t), {before}));
  EXPECT_FALSE(judge.look(at(9), {now}));
  EXPECT_FALSE(judge.look(at(18), {now}));
}

TEST(Silence, WhoeverIsGoneIsMissedByARankThatIsNot) {
  constexpr int ranks = 5;
  for (unsigned gone = 1; gone + 1 < 1u << ranks; ++gone) {
    const auto is_gone = [&](int rank) { return (gone >> rank & 1) != 0; };
    bool missed = false;
    for (int rank = 0; rank < ranks; ++rank) {
      if (!is_gone(rank)) missed = missed || std::ranges::any_of(watched_by(rank, ranks), is_gone);
    }
    EXPECT_TRUE(missed) << "gone: " << gone;
  }
}

TEST(Silence, WhatRank0HasFoundOutEndsTheOthersToo) {
  SilenceJudge judge(watched_by(3, 8), 8, 10, 1);
  Heartbeat ending = heartbeat(0, 3, Phase::communication);
  ending.ending = true;
  EXPECT_FALSE(judge.look(at(0), {ending, heartbeat(3, 0)})) << "of the job before, maybe";
  EXPECT_FALSE(judge.look(at(1), {heartbeat(0, 4), heartbeat(3, 1)}));
  ending.beat = 5;
  EXPECT_EQ(judge.look(at(2), {ending, heartbeat(3, 2)}),
            "rank 0 on node0 (process 100) of 8 ends the job, and says why; last phase: step 12, communication");
}

TEST(Silence, WhoDoesNotFollowAllRanksDoesNotSayThatAllWait) {
  SilenceJudge judge(watched_by(2, 3), 3, 10, 1);
  for (int t = 0; t < 30; ++t) {
    Heartbeats beats = {heartbeat(0, t), heartbeat(2, t)};
    for (auto& beat : beats) {
      beat.value().progress = 3;
      beat.value().waiting = true;
    }
    EXPECT_FALSE(judge.look(at(t), beats));
  }
}

}  // namespace
}  // namespace palimpsest
