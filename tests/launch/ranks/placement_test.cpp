// Threads and cores: how many a rank takes, and what is told about ranks and cores.
#include "launch/ranks/placement.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include <omp.h>
#include <sched.h>

#include <gtest/gtest.h>

#include "launch/ranks/threads.h"

namespace palimpsest {
namespace {

using Ranks = std::vector<RankPlacement>;

/// A rank of a host with so many cores, `usable` of them its own.
RankPlacement rank_with(int usable, int host_cores, int threads = 0) {
  std::vector<int> cores(static_cast<std::size_t>(usable));
  std::iota(cores.begin(), cores.end(), 0);
  return {"host", cores, host_cores, threads};
}

TEST(Threads, RanksThatMayUseTheWholeHostShareIt) {
  EXPECT_EQ(choose_threads(rank_with(8, 8), 2), 4);
  EXPECT_EQ(choose_threads(rank_with(2, 8), 4), 2);
  EXPECT_EQ(choose_threads(rank_with(2, 2), 4), 1);
}

TEST(Threads, WhatIsAskedForWins) {
  EXPECT_EQ(choose_threads(rank_with(4, 4, 3), 1), 3);
  const auto alone = single_process();
  const int before = omp_get_max_threads();
  omp_set_num_threads(3);
  ASSERT_EQ(setenv("OMP_NUM_THREADS", "3", 1), 0);
  EXPECT_EQ(configure_threads(0, *alone).threads, 3);
  EXPECT_EQ(configure_threads(1, *alone).threads, 1);
  ASSERT_EQ(unsetenv("OMP_NUM_THREADS"), 0);
  EXPECT_EQ(configure_threads(0, *alone).threads, static_cast<int>(usable_cores().size()));
  omp_set_num_threads(before);
}

TEST(Threads, OneProcessKnowsItsPlace) {
  const auto alone = single_process();
  const int before = omp_get_max_threads();
  const ThreadPlan plan = configure_threads(1, *alone);
  EXPECT_EQ(omp_get_max_threads(), 1);
  omp_set_num_threads(before);
  EXPECT_EQ(plan.ranks_on_host, 1);
  ASSERT_EQ(plan.placements.size(), 1u);
  EXPECT_EQ(plan.placements[0].host, host_name());
  EXPECT_EQ(plan.placements[0].cores, usable_cores());
  EXPECT_EQ(plan.placements[0].threads, 1);
  EXPECT_TRUE(plan.warnings.empty());
}

TEST(Placement, UsableCoresAreThoseOfTheMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const int last = usable_cores().back();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(usable_cores(), std::vector<int>{last});
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(Placement, CoresAreWrittenAsRanges) {
  EXPECT_EQ(format_cores(std::vector<int>{3}), "3");
  EXPECT_EQ(format_cores(std::vector<int>{0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
  EXPECT_EQ(format_cores(std::vector<int>{}), "");
}

TEST(Placement, ALineAHost) {
  const Ranks ranks = {{"a", {0, 1}, 4, 2}, {"b", {5}, 8, 1}, {"a", {2, 3}, 4, 2}};
  EXPECT_EQ(describe_placements(ranks),
            (std::vector<std::string>{"a: rank 0 on cores 0-1 with 2 threads, rank 2 on cores 2-3 with 2 threads",
                                      "b: rank 1 on core 5 with 1 thread"}));
}

TEST(Placement, RanksThatMayRunAnywhereAreCalledNotBound) {
  const Ranks two = {{"a", {0, 1}, 2, 1}, {"a", {0, 1}, 2, 1}};
  EXPECT_EQ(describe_placements(two)[0],
            "a: rank 0 on cores 0-1 (not bound) with 1 thread, rank 1 on cores 0-1 (not bound) with 1 thread");
  EXPECT_TRUE(check_placements(two).empty());  // a core for every thread
  EXPECT_EQ(describe_placements(Ranks{{"a", {0, 1}, 2, 2}})[0], "a: rank 0 on cores 0-1 with 2 threads");
}

TEST(Placement, WarnsOfFewerCoresThanThreads) {
  const Ranks ranks = {{"a", {0, 1}, 8, 2}, {"a", {2}, 8, 2}, {"b", {2}, 8, 2}};
  const auto warnings = check_placements(ranks);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(warnings[0].starts_with(
      "rank 1 on a (and 1 more like it) computes with 2 threads, but may only run on core 2 of the host's 8"))
      << warnings[0];
  EXPECT_NE(warnings[0].find("launch/run.sh"), std::string::npos);
}

TEST(Placement, WarnsOfSharedCores) {
  // Ranks 0 and 2 share through rank 1; rank 3 has its own core, rank 4 is on another host.
  const Ranks ranks = {
      {"a", {0, 1}, 8, 2}, {"a", {1, 2}, 8, 2}, {"a", {2, 3}, 8, 2}, {"a", {6}, 8, 1}, {"b", {0, 1}, 8, 2}};
  EXPECT_EQ(check_placements(ranks),
            std::vector<std::string>{"ranks 0-2 on a share cores 0-3, 4 for 6 threads: it will be slow"});
}

TEST(Placement, RanksWithCoresOfTheirOwnAreFine) {
  EXPECT_TRUE(check_placements(Ranks{{"a", {0, 1}, 4, 2}, {"a", {2, 3}, 4, 2}, {"b", {0, 1}, 4, 2}}).empty());
}

}  // namespace
}  // namespace palimpsest
