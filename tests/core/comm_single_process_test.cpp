#include <cstdlib>
#include <numeric>

#include <gtest/gtest.h>

#include "core/comm/agreement.h"
#include "core/comm/communicator.h"
#include "core/comm/pieces.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

TEST(SingleProcess, CollectivesAreTheIdentity) {
  const auto communicator = single_process();
  EXPECT_EQ(communicator->rank(), 0);
  EXPECT_EQ(communicator->size(), 1);
  EXPECT_EQ(communicator->description(), "1 process");
  std::vector<float> values{1, 2, 3};
  communicator->all_reduce_sum(std::span(values));
  communicator->broadcast(std::as_writable_bytes(std::span(values)), 0);
  communicator->barrier();
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
  const auto gathered = communicator->all_gather(std::as_bytes(std::span(values)));
  ASSERT_EQ(gathered.size(), 1u);
  EXPECT_EQ(gathered[0].size(), 12u);
  EXPECT_THROW(communicator->broadcast({}, 1), CommunicationError);
}

TEST(SingleProcess, TransfersAreDoneAtOnce) {
  const auto communicator = single_process();
  std::vector<float> values{1, 2.00001f, 3}, gathered(3);
  const std::vector<float> before = values;
  EXPECT_TRUE(communicator->begin_all_reduce_sum(values, WireType::bfloat16).done());
  EXPECT_TRUE(communicator->begin_reduce_scatter_sum(values).done());
  EXPECT_TRUE(communicator->begin_all_gather_shares(values).done());
  EXPECT_EQ(values, before);
  communicator->begin_all_gather(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(gathered))).wait();
  EXPECT_EQ(gathered, values);
  EXPECT_TRUE(holds(
      message_of<CommunicationError>([&] { communicator->begin_all_gather(std::as_bytes(std::span(values)), {}); }),
      "begin_all_gather of 12 bytes got room for 0, expected 12"));
  EXPECT_EQ(communicator->split(3, 1)->size(), 1);
}

TEST(SingleProcess, AbortEndsWithTheCode) { EXPECT_EXIT(single_process()->abort(42), testing::ExitedWithCode(42), ""); }

TEST(StartCommunication, WithoutALauncherIsASingleProcess) {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"}) unsetenv(variable);
  int argument_count = 0;
  char** arguments = nullptr;
  EXPECT_EQ(start_communication(argument_count, arguments)->description(), "1 process");
}

TEST(Agreement, OfASingleProcessKeepsTheMessage) {
  const auto communicator = single_process();
  EXPECT_NO_THROW(agree<FileError>(*communicator, [] {}));
  EXPECT_EQ(message_of([&] { agree<FileError>(*communicator, [] { throw DataError("a cause"); }); }), "a cause");
}

TEST(Pieces, CoverTheBufferInOrder) {
  std::vector<int> values(10);
  std::iota(values.begin(), values.end(), 0);
  for (const std::size_t limit : {1, 3, 5, 10, 11}) {
    std::vector<int> seen;
    for_each_piece(std::span(values), limit, [&](std::span<int> piece) {
      EXPECT_LE(piece.size(), limit);
      EXPECT_FALSE(piece.empty());
      seen.insert(seen.end(), piece.begin(), piece.end());
    });
    EXPECT_EQ(seen, values) << limit;
  }
}

TEST(Pieces, AnEmptyBufferIsOnePiece) {
  int calls = 0;
  for_each_piece(std::span<int>(), 4, [&](std::span<int> piece) { calls += piece.empty() ? 1 : 100; });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace palimpsest
