#include "core/io/child_process.h"

#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/error.h"

namespace palimpsest {
namespace {

constexpr ChildLimits strict = {.seconds = 1, .memory_bytes = std::uint64_t{64} << 20};

TEST(ChildProcess, ReturnsAndExceptionsAreNoTrouble) {
  int changed = 0;
  EXPECT_EQ(try_in_child([&] { changed = 1; }), std::nullopt);
  EXPECT_EQ(changed, 0) << "the child works on a copy";
  EXPECT_EQ(try_in_child([] { throw FileError("refused"); }), std::nullopt);
}

TEST(ChildProcess, DeathIsTold) {
  EXPECT_EQ(try_in_child([] { raise(SIGSEGV); }), "is killed by signal 11 (Segmentation fault)");
  EXPECT_EQ(try_in_child([] { raise(SIGABRT); }), "is killed by signal 6 (Aborted)");
  EXPECT_EQ(try_in_child([] { throw std::runtime_error("not ours"); }), "throws an exception");
  EXPECT_EQ(try_in_child([] { _exit(9); }), "ends the process with status 9");
}

TEST(ChildProcess, WorkWithoutEndIsEnded) {
  volatile bool forever = true;
  const auto spin = [&] {
    while (forever) {
    }
  };
  EXPECT_EQ(try_in_child(spin, strict), "needs more than 1 seconds");
}

TEST(ChildProcess, WaitingHasNoLimit) {
  const auto look = [] {
    // A clock that runs while the process waits would call a slow disk damaged.
    if (alarm(0) != 0) throw std::runtime_error("an alarm is set");
    for (const auto timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
      itimerval left{};
      getitimer(timer, &left);
      if (left.it_value.tv_sec != 0 || left.it_value.tv_usec != 0) throw std::runtime_error("a timer is set");
    }
  };
  EXPECT_EQ(try_in_child(look, strict), std::nullopt);
}

TEST(ChildProcess, MemoryIsBounded) {
  const auto take = [] {
    std::vector<std::vector<char>> all;
    for (int i = 0; i < 16; ++i) all.emplace_back(std::size_t{16} << 20, 'x');
  };
  EXPECT_EQ(try_in_child(take), std::nullopt);
#ifndef __SANITIZE_ADDRESS__  // which ends the process itself
  EXPECT_EQ(try_in_child(take, strict), "needs more than 64 MiB of memory");
#endif
}

}  // namespace
}  // namespace palimpsest
