// Who may write in a run directory.
#include "launch/training/run_lock.h"

#include <csignal>
#include <fstream>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/ranks/heartbeat.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class RunLockTest : public testing::Test {
 protected:
  RunLockTest() { directory.create(); }

  std::string refusal(double patience = 0.3) const {
    try {
      const RunLock second(directory, patience);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }

  void write_foreign_lock() const {
    std::ofstream(directory.path() / "lock")
        << R"({"host":"elsewhere","boot":"another-boot","pid":4711,"started":"12"})" << '\n';
  }

  const TemporaryDirectory temporary;
  const RunDirectory directory{temporary / "run"};
};

TEST_F(RunLockTest, KeepsASecondTrainerOutUntilTheFirstIsGone) {
  {
    const RunLock lock(directory);
    EXPECT_NE(refusal().find("is being trained in by process " + std::to_string(getpid())), std::string::npos);
    std::ofstream(directory.path() / "lock") << "torn";
    EXPECT_NE(refusal().find("is being trained in by another process"), std::string::npos)
        << "the kernel's word counts";
    fs::resize_file(directory.path() / "lock", 0);
  }
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(fs::file_size(directory.path() / "lock"), 0u) << "given back";
}

TEST_F(RunLockTest, OfAKilledProcessOfThisHostIsStaleAtOnce) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const RunLock lock(directory);
    [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_NE(refusal().find("process " + std::to_string(child)), std::string::npos);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(refusal(/*patience=*/1e6), "");
}

TEST_F(RunLockTest, OfAnotherHostHoldsAsLongAsItsHeartMoves) {
  write_foreign_lock();
  std::atomic<bool> stop = false;
  std::thread beating([&] {
    for (int beat = 0; !stop; ++beat) {
      write_heartbeat(directory.heartbeats(), {0, "elsewhere", 4711, beat, beat, beat, 1, "data"});
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const std::string message = refusal(/*patience=*/60);
  stop = true;
  beating.join();
  EXPECT_NE(message.find("is being trained in by process 4711 on elsewhere"), std::string::npos) << message;
  EXPECT_EQ(refusal(), "") << "and is stale when it has stopped";
}

TEST_F(RunLockTest, RemovedWithItsDirectoryIsPutBack) {
  RunLock lock(directory);
  EXPECT_EQ(lock.check(), "");
  fs::remove_all(directory.path());
  EXPECT_EQ(lock.check(), "");
  EXPECT_NE(refusal().find("is being trained in"), std::string::npos);
}

TEST_F(RunLockTest, NoticesThatAnotherHasTakenOver) {
  RunLock lock(directory);
  fs::remove(directory.path() / "lock");
  write_foreign_lock();
  EXPECT_NE(lock.check().find("has been taken over by process 4711 on elsewhere"), std::string::npos);
}

TEST_F(RunLockTest, ThatSaysNothingIsNobodys) {
  std::ofstream(directory.path() / "lock") << "process 12 on somewhere\n";
  EXPECT_EQ(refusal(), "");
}

}  // namespace
}  // namespace palimpsest
