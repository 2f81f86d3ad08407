// Signs of life: their files, which silence is too long, and the threads that watch.
#include "launch/ranks/watchdog.h"

#include <fstream>
#include <future>
#include <memory>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

using Clock = SilenceJudge::Clock;
using Heartbeats = std::vector<std::optional<Heartbeat>>;

Clock::time_point at(double seconds) {
  return Clock::time_point() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Heartbeat heartbeat(int rank, std::int64_t count, Phase phase = Phase::forward) {
  return {rank, "node" + std::to_string(rank), 100 + rank, count, count, count, 12, name_of(phase)};
}

TEST(Heartbeat, ReadsBackAndIsRewrittenInPlace) {
  const TemporaryDirectory temporary;
  const auto directory = temporary / "run/heartbeats";
  EXPECT_EQ(read_heartbeat(directory, 3), std::nullopt);
  for (std::int64_t count : {1, 1000000}) {
    write_heartbeat(directory, heartbeat(3, count));
    EXPECT_EQ(read_heartbeat(directory, 3), heartbeat(3, count));
    EXPECT_EQ(std::filesystem::file_size(heartbeat_path(directory, 3)), heartbeat_bytes);
  }
  std::filesystem::remove_all(temporary / "run");
  write_heartbeat(directory, heartbeat(3, 5));
  EXPECT_EQ(read_heartbeat(directory, 3), heartbeat(3, 5));
}

TEST(Heartbeat, WhatIsTornOrForeignIsNone) {
  const TemporaryDirectory directory;
  for (const std::string text : {"", "{\"rank\":1", "[]", "null", "{\"rank\":\"x\"}"}) {
    std::string padded = text;
    padded.resize(heartbeat_bytes, ' ');
    std::ofstream(heartbeat_path(directory.path(), 0)) << padded;
    EXPECT_EQ(read_heartbeat(directory.path(), 0), std::nullopt) << text;
  }
  std::ofstream(heartbeat_path(directory.path(), 0)) << "{}";
  EXPECT_EQ(read_heartbeat(directory.path(), 0), std::nullopt);
}

TEST(Heartbeat, LastSignsOfLifeNameFirstWhomTheOthersWaitedFor) {
  const TemporaryDirectory directory;
  EXPECT_EQ(last_signs_of_life(directory.path()), "");
  for (int rank = 0; rank < 12; ++rank) {
    Heartbeat last = heartbeat(rank, 5, rank == 3 ? Phase::finished : Phase::evaluating);
    last.waiting = rank != 7;
    if (rank == 5) last.step = 11;
    write_heartbeat(directory.path(), last);
  }
  EXPECT_EQ(last_signs_of_life(directory.path()),
            "rank 7 on node7 (process 107): step 12, evaluation; "
            "rank 5 on node5 (process 105): step 11, evaluation, waiting for others; "
            "rank 0 on node0 (process 100): step 12, evaluation, waiting for others; "
            "rank 1 on node1 (process 101): step 12, evaluation, waiting for others; "
            "rank 2 on node2 (process 102): step 12, evaluation, waiting for others; "
            "rank 4 on node4 (process 104): step 12, evaluation, waiting for others; "
            "rank 6 on node6 (process 106): step 12, evaluation, waiting for others; "
            "rank 8 on node8 (process 108): step 12, evaluation, waiting for others; and 3 more");
}

/// Looks every second for as long as `heartbeats(second)` gives; what was found wrong, and when.
std::string verdict(SilenceJudge judge, int seconds, const std::function<Heartbeats(int)>& heartbeats) {
  for (int second = 0; second <= seconds; ++second) {
    if (const auto wrong = judge.look(at(second), heartbeats(second))) return std::to_string(second) + " s: " + *wrong;
  }
  return "";
}

TEST(Silence, EverybodyAlive) {
  EXPECT_EQ(verdict(SilenceJudge(2, 10, 1), 100,
                    [](int t) {
                      return Heartbeats{heartbeat(0, t), heartbeat(1, t)};
                    }),
            "");
}

TEST(Silence, ARankThatStoppedIsNamedWithItsPhase) {
  const std::string found = verdict(SilenceJudge(2, 10, 1), 100, [](int t) {
    return Heartbeats{heartbeat(0, t), heartbeat(1, std::min(t, 20), Phase::optimizer)};
  });
  EXPECT_EQ(found,
            "30 s: rank 1 on node1 (process 101) of 2 has given no sign of life for 10 s; last phase: step 12, "
            "optimizer");
}

TEST(Silence, ARankThatNeverCameOrHasLeft) {
  EXPECT_EQ(verdict(SilenceJudge(2, 10, 1), 100,
                    [](int t) {
                      return Heartbeats{heartbeat(0, t), {}};
                    }),
            "10 s: rank 1 of 2 has given no sign of life for 10 s");
  const std::string found = verdict(SilenceJudge(2, 10, 1), 100, [](int t) {
    return Heartbeats{heartbeat(0, t), heartbeat(1, std::min(t, 5), t < 5 ? Phase::forward : Phase::finished)};
  });
  EXPECT_NE(found.find("has left early"), std::string::npos) << found;
}

TEST(Silence, ARankThatBeatsButDoesNotGetOn) {
  const std::string found = verdict(SilenceJudge(2, 10, 1), 100, [](int t) {
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
  const std::string found = verdict(SilenceJudge(2, 10, 1), 100, [&](int t) {
    return Heartbeats{waiting(0, t, Phase::communication), waiting(1, t, Phase::communication)};
  });
  EXPECT_NE(found.find("all 2 ranks have waited for each other in step 12, communication"), std::string::npos) << found;
  // One has left by another door.
  const std::string apart = verdict(SilenceJudge(2, 10, 1), 100, [&](int t) {
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
  const std::string inside = verdict(SilenceJudge(2, 10, 1), 100, [&](int t) {
    return Heartbeats{waiting(0, t, Phase::forward), waiting(1, t, Phase::evaluating)};
  });
  EXPECT_NE(inside.find("all 2 ranks have waited for each other"), std::string::npos) << inside;
  // One that computes keeps the others waiting for as long as it likes.
  EXPECT_EQ(verdict(SilenceJudge(2, 10, 1), 100,
                    [&](int t) {
                      return Heartbeats{waiting(0, t, Phase::communication), still(1, t, Phase::forward)};
                    }),
            "");
}

TEST(Silence, ATimeInWhichNobodyCouldLookIsNoSilence) {
  SilenceJudge judge(2, 10, 1);
  EXPECT_FALSE(judge.look(at(0), {heartbeat(0, 0), heartbeat(1, 0)}));
  EXPECT_FALSE(judge.look(at(1), {heartbeat(0, 1), heartbeat(1, 1)}));
  EXPECT_FALSE(judge.look(at(10000), {heartbeat(0, 2), heartbeat(1, 1)})) << "all were suspended";
  EXPECT_FALSE(judge.look(at(10001), {heartbeat(0, 3), heartbeat(1, 2)}));
}

TEST(Silence, ARankOfTheJobBeforeIsAnotherProcess) {
  SilenceJudge judge(1, 10, 1);
  Heartbeat before = heartbeat(0, 500);
  Heartbeat now = heartbeat(0, 500);
  now.process = 7;
  EXPECT_FALSE(judge.look(at(0), {before}));
  for (int t = 1; t < 9; ++t) EXPECT_FALSE(judge.look(at(t), {before}));
  EXPECT_FALSE(judge.look(at(9), {now}));
  EXPECT_FALSE(judge.look(at(18), {now}));
}

TEST(Watchdog, HearsAnotherUntilItFallsSilent) {
  const TemporaryDirectory directory;
  RankStatus status, other_status;
  std::promise<std::string> alarm;
  auto other = std::make_unique<Watchdog>(Watchdog::Settings{directory.path(), 1, 2, "there", 0}, other_status,
                                          [](const std::string&) {});
  status.enter(Phase::communication);
  const RankStatus::Waiting waiting(status);  // however long the other takes to leave, this rank hangs not
  const Watchdog watchdog({directory.path(), 0, 2, "here", 0.3}, status,
                          [&](const std::string& what) { alarm.set_value(what); });
  other_status.set_step(4);
  other_status.enter(Phase::finished);
  other.reset();
  const std::string what = alarm.get_future().get();
  EXPECT_NE(what.find("rank 1 on there"), std::string::npos) << what;
  EXPECT_NE(what.find("has left early"), std::string::npos) << what;
  EXPECT_NE(what.find("last phase: step 4, finished"), std::string::npos) << what;
}

TEST(Watchdog, NoticesThisRanksOwnThreadThatHangs) {
  const TemporaryDirectory directory;
  RankStatus status;
  status.enter(Phase::data);  // and then neither computes nor goes on
  std::promise<std::string> alarm;
  const Watchdog watchdog({directory.path(), 0, 1, "here", 0.3}, status,
                          [&](const std::string& what) { alarm.set_value(what); });
  const std::string what = alarm.get_future().get();
  EXPECT_NE(what.find("reading data"), std::string::npos) << what;
}

TEST(Watchdog, NoticesAFileSystemThatDoesNotAnswer) {
  const TemporaryDirectory directory;
  // Opening a pipe that nobody writes to takes for ever.
  const auto pipe = heartbeat_path(directory.path(), 1);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  RankStatus status;
  std::promise<std::string> alarm;
  auto watchdog = std::make_unique<Watchdog>(Watchdog::Settings{directory.path(), 0, 2, "here", 0.3}, status,
                                             [&](const std::string& what) { alarm.set_value(what); });
  const std::string what = alarm.get_future().get();
  EXPECT_NE(what.find("the file system has not answered"), std::string::npos) << what;
  const int writer = open(pipe.c_str(), O_RDWR | O_NONBLOCK);  // lets it go
  watchdog.reset();
  close(writer);
}

/// What `error` says once it has a context, caught as a `Caught`.
template <class Caught, class E>
std::string with_context(const E& error) {
  try {
    try {
      throw error;
    } catch (...) {
      rethrow_with_context("step 3, optimizer");
    }
  } catch (const Caught& again) {
    return again.what();
  } catch (...) {
    return "another type";
  }
}

TEST(RankStatus, ErrorsKeepTheirTypeAndSayWhere) {
  EXPECT_EQ(with_context<WriteError>(WriteError("full")), "full (step 3, optimizer)");
  EXPECT_EQ(with_context<FileError>(FileError("gone")), "gone (step 3, optimizer)");
  EXPECT_EQ(with_context<CommunicationError>(CommunicationError("lost")), "lost (step 3, optimizer)");
  EXPECT_EQ(with_context<NumericalError>(NumericalError("inf")), "inf (step 3, optimizer)");
  EXPECT_EQ(with_context<Error>(Error("wrong")), "wrong (step 3, optimizer)");
}

TEST(RankStatus, OtherErrorsBecomeOurs) {
  EXPECT_EQ(with_context<Error>(std::bad_alloc()), "out of memory (step 3, optimizer)");
  EXPECT_EQ(with_context<Error>(std::out_of_range("map::at")), "map::at (step 3, optimizer)");
}

}  // namespace
}  // namespace palimpsest
