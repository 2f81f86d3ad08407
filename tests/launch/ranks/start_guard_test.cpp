// A start that takes too long.
#include "launch/ranks/start_guard.h"

#include <atomic>
#include <future>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(StartGuard, CallsWhenNothingStarts) {
  std::promise<void> called;
  const StartGuard guard(0.05, [&] { called.set_value(); });
  called.get_future().get();
}

TEST(StartGuard, IsSilentOnceStartedOrWithoutLimit) {
  std::atomic<bool> called = false;
  {
    const StartGuard guard(3600, [&] { called = true; });
  }
  {
    const StartGuard guard(0, [&] { called = true; });
  }
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace palimpsest
