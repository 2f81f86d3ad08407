#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/comm/agreement.h"
#include "tests/file_damage.h"
#include "tests/mpi/job.h"

namespace palimpsest {
namespace {

std::string place() { return "rank " + std::to_string(job().rank()) + " of " + std::to_string(job().size()) + ": "; }

TEST(MpiCommunicator, KnowsItsRanks) {
  ASSERT_GE(job().size(), 2) << "run me with mpirun";
  EXPECT_EQ(job().description(), std::to_string(job().size()) + " MPI ranks on 1 host");
  std::vector<std::int64_t> present(static_cast<std::size_t>(job().size()));
  present[static_cast<std::size_t>(job().rank())] = 1;
  job().all_reduce_sum(std::span(present));
  EXPECT_EQ(present, std::vector<std::int64_t>(present.size(), 1));
}

TEST(MpiCommunicator, SumsAndMaxima) {
  const int ranks = job().size(), rank = job().rank();
  std::vector<double> doubles{1.0 + rank, -2.0};
  job().all_reduce_sum(std::span(doubles));
  EXPECT_EQ(doubles, (std::vector<double>{ranks * (ranks + 1) / 2.0, -2.0 * ranks}));
  std::vector<std::int64_t> integers{std::int64_t{rank} << 40, -rank};
  job().all_reduce_max(std::span(integers));
  EXPECT_EQ(integers, (std::vector<std::int64_t>{std::int64_t{ranks - 1} << 40, 0}));
  job().all_reduce_sum(std::span<float>());
}

TEST(MpiCommunicator, FloatSumsHaveTheSameBitsEverywhereAndAgain) {
  // Sizes around the limits at which MPI changes its algorithm.
  for (const std::size_t count : {1u, 1000u, 5000u, 400000u}) {
    const auto sum = [&] {
      std::vector<float> values(count);
      for (std::size_t i = 0; i < count; ++i) values[i] = 1.0f / static_cast<float>(i + 1 + 7 * job().rank());
      job().all_reduce_sum(std::span(values));
      return values;
    };
    const std::vector<float> first = sum(), again = sum();
    EXPECT_EQ(std::memcmp(first.data(), again.data(), count * sizeof(float)), 0) << count;
    for (const auto& other : job().all_gather(std::as_bytes(std::span(first)))) {
      EXPECT_EQ(std::memcmp(first.data(), other.data(), count * sizeof(float)), 0) << count;
    }
  }
}

TEST(MpiCommunicator, GathersDifferentLengthsInRankOrder) {
  const std::string mine(static_cast<std::size_t>(job().rank()) * 3, static_cast<char>('a' + job().rank()));
  const auto all = job().all_gather(std::as_bytes(std::span(mine)));
  ASSERT_EQ(all.size(), static_cast<std::size_t>(job().size()));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const std::string text(reinterpret_cast<const char*>(all[rank].data()), all[rank].size());
    EXPECT_EQ(text, std::string(rank * 3, static_cast<char>('a' + rank)));
  }
}

TEST(MpiCommunicator, BroadcastsFromEveryRoot) {
  for (int root = 0; root < job().size(); ++root) {
    std::vector<std::int64_t> values{job().rank() == root ? 17 + root : -1};
    job().broadcast(std::as_writable_bytes(std::span(values)), root);
    EXPECT_EQ(values[0], 17 + root);
  }
}

TEST(MpiCommunicator, AFailureNamesRankAndOperation) {
  std::byte nothing{};
  const std::string message = message_of<CommunicationError>([&] { job().broadcast({&nothing, 1}, job().size()); });
  EXPECT_TRUE(holds(message, place() + "broadcast failed: MPI_ERR_ROOT")) << message;
}

TEST(Agreement, AFailureOnOneRankIsThrownOnAll) {
  for (int failing = 0; failing < job().size(); ++failing) {
    const std::string message = message_of<WriteError>([&] {
      agree<WriteError>(job(), [&] {
        if (job().rank() == failing) throw FileError("the disk is full");
      });
    });
    EXPECT_TRUE(message.starts_with("rank " + std::to_string(failing) + " of " + std::to_string(job().size()) + " on "))
        << message;
    EXPECT_TRUE(message.ends_with(": the disk is full")) << message;
  }
}

TEST(Agreement, TheTypeIsThatOfTheLowestFailingRankAndItsNameIsToldOnce) {
  const auto fail = [] {
    if (job().rank() == 1) throw NumericalError("no number");
    if (job().rank() > 1) throw FileError("the disk is full");
  };
  const std::string message = message_of<NumericalError>([&] { agree_on_error(job(), fail); });
  EXPECT_TRUE(message.ends_with(": no number")) << message;
  EXPECT_EQ(told_by_rank(job(), message), message);
  const std::string told = told_by_rank(job(), "rank 1: no number");
  EXPECT_TRUE(told.starts_with("rank " + std::to_string(job().rank()) + " of ") &&
              told.ends_with(": rank 1: no number"))
      << told;
  EXPECT_NO_THROW(agree_on_error(job(), [] {}));
  EXPECT_EQ(message_of<WriteError>([] { agree_on_error(job(), [] { throw WriteError("all"); }); }).substr(0, 7),
            "rank 0 ");
  message_of<Error>([] { agree_on_error(job(), [] { throw std::length_error("of another kind"); }); });
}

TEST(Agreement, NamesTheLowestOfSeveralFailingRanks) {
  const auto message = failure_of_any(job(), [] {
    if (job().rank() > 0) throw FileError(std::string(static_cast<std::size_t>(job().rank()), 'x'));
  });
  ASSERT_TRUE(message);
  EXPECT_TRUE(message->starts_with("rank 1 of " + std::to_string(job().size()) + " on ")) << *message;
  EXPECT_TRUE(message->ends_with(": x")) << *message;
  EXPECT_FALSE(failure_of_any(job(), [] {}));
}

}  // namespace
}  // namespace palimpsest
