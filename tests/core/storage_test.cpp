#include "core/storage.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace palimpsest {
namespace {

TEST(MemoryPool, AlignsBlocksAndKeepsThemApart) {
  MemoryPool pool;
  std::vector<std::shared_ptr<std::byte>> blocks;
  for (std::size_t i = 0; i < 50; ++i) {
    blocks.push_back(pool.allocate(i * 37));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back().get()) % 64, 0u);
    std::memset(blocks.back().get(), static_cast<int>(i), i * 37);
  }
  for (std::size_t i = 0; i < 50; ++i) {
    for (std::size_t j = 0; j < i * 37; ++j) ASSERT_EQ(blocks[i].get()[j], static_cast<std::byte>(i));
  }
}

TEST(MemoryPool, UsesAgainWhatComesBack) {
  MemoryPool pool;
  auto block = pool.allocate(1 << 20);
  std::byte* const address = block.get();
  block.reset();
  EXPECT_EQ(pool.allocate(1 << 20).get(), address);
}

TEST(MemoryPool, MergesNeighboursInAnyOrder) {
  MemoryPool pool;
  constexpr std::size_t third = 1 << 20;
  const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : orders) {
    std::shared_ptr<std::byte> blocks[3];
    for (auto& block : blocks) block = pool.allocate(third);
    std::byte* const first = blocks[0].get();
    for (const int index : order) blocks[index].reset();
    EXPECT_EQ(pool.allocate(3 * third).get(), first);
  }
}

TEST(MemoryPool, TakesTheSmallestBlockThatFits) {
  MemoryPool pool;
  auto large = pool.allocate(4 << 20);
  auto fence = pool.allocate(64);
  auto small = pool.allocate(1 << 20);
  auto end = pool.allocate(64);
  std::byte* const address = small.get();
  large.reset();
  small.reset();
  EXPECT_EQ(pool.allocate(1 << 20).get(), address);
}

TEST(MemoryPool, SteadyStepsCommitNothingNew) {
  MemoryPool pool;
  const auto step = [&] {
    std::vector<std::shared_ptr<std::byte>> blocks;
    for (std::size_t i = 1; i <= 40; ++i) blocks.push_back(pool.allocate(i * 100000));
    for (std::size_t i = 0; i < 40; i += 3) blocks[i] = pool.allocate(i * 7000);
  };
  step();
  const std::size_t committed = pool.statistics().committed_bytes;
  for (int i = 0; i < 5; ++i) step();
  EXPECT_EQ(pool.statistics().committed_bytes, committed);
}

TEST(MemoryPool, CountsBytes) {
  MemoryPool pool;
  auto a = pool.allocate(100);
  EXPECT_EQ(pool.statistics().bytes_in_use, 128u);
  auto b = pool.allocate(64);
  b.reset();
  EXPECT_EQ(pool.statistics().bytes_in_use, 128u);
  EXPECT_EQ(pool.statistics().peak_bytes_in_use, 192u);
  EXPECT_GE(pool.statistics().committed_bytes, 192u);
  a.reset();
  EXPECT_EQ(pool.statistics().bytes_in_use, 0u);
}

TEST(MemoryPool, BlocksOutliveThePool) {
  std::optional<MemoryPool> pool(std::in_place);
  auto block = pool->allocate(1000);
  pool.reset();
  std::memset(block.get(), 1, 1000);
  EXPECT_EQ(block.get()[999], std::byte{1});
}

TEST(MemoryPool, RefusesWhatTheMachineDoesNotHave) {
  MemoryPool pool;
  EXPECT_THROW(pool.allocate(std::size_t{1} << 60), std::bad_alloc);
  EXPECT_THROW(pool.allocate(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
  EXPECT_NE(pool.allocate(1), nullptr);
  EXPECT_EQ(pool.statistics().bytes_in_use, 0u);
}

TEST(MemoryPool, KeepsScratchMemoryBetweenCalls) {
  MemoryPool pool;
  const std::byte* first = pool.scratch(100000, 0).data();
  const std::size_t kept = pool.statistics().scratch_bytes;
  EXPECT_GE(kept, 100000u);
  EXPECT_EQ(pool.statistics().bytes_in_use, kept);
  EXPECT_EQ(pool.scratch(90000, 0).data(), first);
  EXPECT_EQ(pool.statistics().scratch_bytes, kept);
}

TEST(MemoryPool, GivesScratchMemoryToOneAtATime) {
  MemoryPool pool;
  const auto outer = pool.scratch(64, 3), inner = pool.scratch(64, 3), other = pool.scratch(64, 4);
  EXPECT_NE(outer.data(), inner.data());
  EXPECT_NE(outer.data(), other.data());
  EXPECT_NE(inner.data(), other.data());
  auto moved = pool.scratch(64, 5);
  const auto owner = std::move(moved);
  EXPECT_NE(pool.scratch(64, 5).data(), owner.data());
}

TEST(MemoryPool, ScratchMemoryThatWasRefusedIsNotThere) {
  MemoryPool pool;
  std::memset(pool.scratch(1000, 0).data(), 1, 1000);
  EXPECT_THROW(pool.scratch(std::int64_t{1} << 60, 0), std::bad_alloc);
  const auto after = pool.scratch(5000, 0);
  ASSERT_NE(after.data(), nullptr);
  std::memset(after.data(), 1, 5000);
}

TEST(MemoryPool, ServesSeveralThreads) {
  MemoryPool pool;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (std::size_t i = 1; i < 300; ++i) {
        auto block = pool.allocate(i * 64);
        std::memset(block.get(), t, i * 64);
        for (std::size_t j = 0; j < i * 64; j += 64) ASSERT_EQ(block.get()[j], static_cast<std::byte>(t));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.statistics().bytes_in_use, 0u);
}

}  // namespace
}  // namespace palimpsest
