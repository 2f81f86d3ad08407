// Runs the tests on every rank of an MPI job. Each rank's failures are printed; the job fails with any.
#include <cstdint>
#include <memory>

#include <gtest/gtest.h>

#include "tests/mpi/job.h"

namespace palimpsest {
namespace {

std::unique_ptr<Communicator> communicator;

}  // namespace

Communicator& job() { return *communicator; }

}  // namespace palimpsest

int main(int argument_count, char** arguments) {
  using palimpsest::communicator;
  communicator = palimpsest::start_communication(argument_count, arguments);
  testing::InitGoogleTest(&argument_count, arguments);
  // The root tells the story; of the others only failures are printed.
  if (!communicator->is_root()) testing::GTEST_FLAG(brief) = true;
  std::int64_t failed = RUN_ALL_TESTS();
  communicator->all_reduce_max({&failed, 1});
  communicator.reset();
  return static_cast<int>(failed);
}
