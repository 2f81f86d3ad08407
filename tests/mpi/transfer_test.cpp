// Operations that go on in the background: values, bits, order, failures, bytes on the wire.
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/comm/communication_counter.h"
#include "core/comm/shares.h"
#include "core/data_type.h"
#include "tests/file_damage.h"
#include "tests/mpi/job.h"

namespace palimpsest {
namespace {

/// Different on every rank; sums of them round.
std::vector<float> values_of(int rank, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = std::sin(static_cast<float>(i % 1000)) / static_cast<float>(1 + rank + i % 7);
  }
  return values;
}

/// Added in rank order.
std::vector<float> expected_sum(std::size_t count) {
  std::vector<float> sum = values_of(0, count);
  for (int rank = 1; rank < job().size(); ++rank) {
    const std::vector<float> values = values_of(rank, count);
    for (std::size_t i = 0; i < count; ++i) sum[i] += values[i];
  }
  return sum;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Nothing, less than a share for everybody, odd, several messages a share.
const std::vector<std::size_t> counts = {0, 1, 5, 17, 1000, 262144, 3000001};

TEST(Transfers, AllReduceAddsInRankOrderWaitedForOrNot) {
  for (const std::size_t count : counts) {
    std::vector<float> blocking = values_of(job().rank(), count), background = blocking;
    job().all_reduce_sum(std::span(blocking));
    EXPECT_TRUE(same_bits(blocking, expected_sum(count))) << count;
    job().begin_all_reduce_sum(background).wait();
    EXPECT_TRUE(same_bits(background, blocking)) << count;
  }
}

TEST(Transfers, CuttingABufferOtherwiseChangesNoBit) {
  constexpr std::size_t count = 100003;
  const std::vector<float> expected = expected_sum(count);
  for (const std::size_t piece : {1000u, 65536u}) {
    std::vector<float> values = values_of(job().rank(), count);
    std::vector<Transfer> transfers;
    for (std::size_t begin = 0; begin < count; begin += piece) {
      transfers.push_back(job().begin_all_reduce_sum(std::span(values).subspan(begin, std::min(piece, count - begin))));
    }
    // In any order: the last one first.
    while (!transfers.empty()) transfers.pop_back();
    EXPECT_TRUE(same_bits(values, expected)) << piece;
  }
}

TEST(Transfers, TheTwoHalvesOfAnAllReduce) {
  for (const std::size_t count : counts) {
    const std::vector<float> expected = expected_sum(count);
    std::vector<float> values = values_of(job().rank(), count);
    job().begin_reduce_scatter_sum(values).wait();
    const Share own = share_of(count, job().rank(), job().size());
    for (std::size_t i = own.begin; i < own.end; ++i) ASSERT_EQ(values[i], expected[i]) << count;
    // Whatever else is in there must come from its owner.
    for (std::size_t i = 0; i < count; ++i) {
      if (i < own.begin || i >= own.end) values[i] = -1;
    }
    job().begin_all_gather_shares(values).wait();
    EXPECT_TRUE(same_bits(values, expected)) << count;
  }
}

TEST(Transfers, OnABfloat16WireEveryValueIsRoundedOnceAndTheSumOnce) {
  for (const std::size_t count : counts) {
    std::vector<float> expected(count), bound(count);
    for (int rank = 0; rank < job().size(); ++rank) {
      const std::vector<float> values = values_of(rank, count);
      for (std::size_t i = 0; i < count; ++i) {
        const float rounded = static_cast<float>(bfloat16(values[i]));
        expected[i] = rank == 0 ? rounded : expected[i] + rounded;
        bound[i] += std::abs(values[i]);
      }
    }
    for (float& value : expected) value = static_cast<float>(bfloat16(value));
    std::vector<float> values = values_of(job().rank(), count), scattered = values;
    job().begin_all_reduce_sum(values, WireType::bfloat16).wait();
    EXPECT_TRUE(same_bits(values, expected)) << count;
    job().begin_reduce_scatter_sum(scattered, WireType::bfloat16).wait();
    const Share own = share_of(count, job().rank(), job().size());
    for (std::size_t i = own.begin; i < own.end; ++i) ASSERT_EQ(scattered[i], expected[i]) << count;
    const std::vector<float> exact = expected_sum(count);
    for (std::size_t i = 0; i < count; ++i) ASSERT_LE(std::abs(values[i] - exact[i]), 0x1.02p-7f * bound[i]);
  }
}

TEST(Transfers, ManyAtOnceBetweenBlockingOperations) {
  std::vector<std::vector<float>> buffers;
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < 20; ++i) buffers.push_back(values_of(job().rank(), 10000 + i));
  for (auto& buffer : buffers) {
    transfers.push_back(job().begin_all_reduce_sum(buffer));
    std::int64_t one = 1;
    job().all_reduce_sum(std::span(&one, 1));
    EXPECT_EQ(one, job().size());
  }
  job().barrier();
  for (Transfer& transfer : transfers) transfer.wait();
  for (const auto& buffer : buffers) EXPECT_TRUE(same_bits(buffer, expected_sum(buffer.size())));
}

TEST(Transfers, GatherInRankOrder) {
  for (const std::size_t count : {0u, 1u, 1000u, 500000u}) {
    const std::vector<float> mine = values_of(job().rank(), count);
    std::vector<float> all(count * static_cast<std::size_t>(job().size()), -1);
    Transfer transfer = job().begin_all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    while (!transfer.done()) std::this_thread::yield();
    for (int rank = 0; rank < job().size(); ++rank) {
      const auto at = all.begin() + static_cast<std::ptrdiff_t>(count) * rank;
      EXPECT_TRUE(same_bits({at, at + static_cast<std::ptrdiff_t>(count)}, values_of(rank, count))) << rank;
    }
  }
  std::byte one{};
  EXPECT_TRUE(holds(message_of<CommunicationError>([&] {
                      job().begin_all_gather({&one, 1}, {&one, 1});
                    }),
                    "rank " + std::to_string(job().rank()) + " of "));
}

TEST(Transfers, SplitMakesCommunicatorsOfTheirOwn) {
  const int rank = job().rank(), size = job().size();
  const auto part = job().split(rank % 2, -rank);  // odd and even ranks, the highest first
  const int expected_size = (size + (rank % 2 == 0 ? 1 : 0)) / 2;
  EXPECT_EQ(part->size(), expected_size);
  const int highest = rank % 2 == (size - 1) % 2 ? size - 1 : size - 2;
  EXPECT_EQ(part->rank(), (highest - rank) / 2);
  std::int64_t sum = rank, expected = 0;
  for (int other = rank % 2; other < size; other += 2) expected += other;
  // A transfer of all ranks is under way meanwhile.
  std::vector<float> values = values_of(rank, 1 << 20);
  Transfer transfer = job().begin_all_reduce_sum(values);
  part->all_reduce_sum(std::span(&sum, 1));
  EXPECT_EQ(sum, expected);
  std::vector<float> few(100, 1);
  part->begin_all_reduce_sum(few).wait();
  EXPECT_EQ(few, std::vector<float>(100, static_cast<float>(expected_size)));
  transfer.wait();
  EXPECT_TRUE(same_bits(values, expected_sum(values.size())));
}

TEST(Transfers, TheBytesOnTheWireAreTheFewestPossible) {
  const auto ranks = static_cast<std::size_t>(job().size());
  const std::size_t count = 4096 * ranks;  // equal shares
  std::vector<float> values(count, 1);
  CommunicationCounter counter;
  const CommunicationObservation observation(job(), counter);
  job().begin_all_reduce_sum(values).wait();
  job().begin_all_reduce_sum(values, WireType::bfloat16).wait();
  job().begin_reduce_scatter_sum(values).wait();
  job().begin_all_gather_shares(values).wait();
  const auto bytes = [&](const char* operation) { return counter.counts().operations.at(operation).bytes; };
  const auto others = static_cast<std::int64_t>(4096 * (ranks - 1));
  EXPECT_EQ(bytes("begin_all_reduce_sum"), (2 * 4 + 2 * 2) * others);
  EXPECT_EQ(bytes("begin_reduce_scatter_sum"), 4 * others);
  EXPECT_EQ(bytes("begin_all_gather_shares"), 4 * others);
  std::vector<std::byte> all(10 * ranks);
  job().begin_all_gather(std::span(all).first(10), all).wait();
  EXPECT_EQ(bytes("begin_all_gather"), static_cast<std::int64_t>(10 * (ranks - 1)));
}

}  // namespace
}  // namespace palimpsest
