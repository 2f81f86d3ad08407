#include "core/parallel.h"

#include <atomic>
#include <new>
#include <stdexcept>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(FirstError, LeavesTheParallelRegion) {
  FirstError error;
#pragma omp parallel for schedule(static) num_threads(3)
  for (int i = 0; i < 30; ++i) {
    error.keep([&] {
      if (i % 10 == 4) throw std::bad_alloc();
    });
  }
  EXPECT_THROW(error.rethrow(), std::bad_alloc);
}

TEST(FirstError, IsTheFirst) {
  FirstError error;
  error.keep([] { throw std::runtime_error("first"); });
  bool called = false;
  error.keep([&] { called = true; });
  EXPECT_FALSE(called);
  EXPECT_THROW(error.rethrow(), std::runtime_error);
}

TEST(FirstError, IsNothingWhereNothingFails) {
  FirstError error;
  std::atomic<int> calls = 0;
#pragma omp parallel for schedule(static) num_threads(3)
  for (int i = 0; i < 30; ++i) error.keep([&] { ++calls; });
  error.rethrow();
  EXPECT_EQ(calls, 30);
}

}  // namespace
}  // namespace palimpsest
