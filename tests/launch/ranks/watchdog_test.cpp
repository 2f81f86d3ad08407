// Signs of life: their files, and the threads that watch.
#include "launch/ranks/watchdog.h"

#include <fstream>
#include <future>
#include <memory>
#include <stdexcept>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/launch/ranks/example_heartbeat.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

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

TEST(Lookout, FilesOpenedGrowWithTheRanksAndNotWithTheirSquare) {
  constexpr int ranks = 256;
  const TemporaryDirectory directory;
  const RankStatus status;
  std::vector<std::unique_ptr<Lookout>> lookouts;
  for (int rank = 0; rank < ranks; ++rank) {
    lookouts.push_back(
        std::make_unique<Lookout>(Lookout::Settings{directory.path(), rank, ranks, "here", 600}, status, 5));
    ASSERT_TRUE(lookouts.back()->write());
  }
  const int watch = inotify_init1(IN_NONBLOCK);
  ASSERT_GE(watch, 0);
  ASSERT_GE(inotify_add_watch(watch, directory.path().c_str(), IN_OPEN), 0);
  for (const auto& lookout : lookouts) {
    EXPECT_TRUE(lookout->write());
    EXPECT_EQ(lookout->look(), std::nullopt);
  }
  int opened = 0;
  alignas(inotify_event) char events[16384];
  for (ssize_t bytes; (bytes = read(watch, events, sizeof(events))) > 0;) {
    for (ssize_t at = 0; at < bytes; ++opened) {
      at += static_cast<ssize_t>(sizeof(inotify_event) + reinterpret_cast<const inotify_event*>(events + at)->len);
    }
  }
  close(watch);
  // Everybody its own; rank 0 all others'; all others rank 0's.
  EXPECT_EQ(opened, ranks + 2 * (ranks - 1));
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

TEST(Watchdog, WhatItsThreadThrowsIsAnAlarm) {
  const TemporaryDirectory directory;
  const RankStatus status;
  std::promise<std::string> alarm;
  const Watchdog watchdog(
      {directory.path(), 0, 1, "here", 0.3}, status, [&](const std::string& what) { alarm.set_value(what); },
      [] { throw std::runtime_error("no memory for a beat"); });
  EXPECT_EQ(alarm.get_future().get(), "it has failed itself: no memory for a beat");
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
