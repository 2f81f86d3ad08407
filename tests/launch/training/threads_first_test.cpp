// Threads are configured before the model is built: its pages belong to the threads that touch them first, and the
// check of bfloat16 products tries the number of threads that training uses.
#include <functional>
#include <stdexcept>

#include <gtest/gtest.h>
#include <omp.h>

#include "launch/benchmark/benchmark.h"
#include "launch/training/trainer.h"
#include "tests/fake_communicator.h"
#include "tests/launch/tiny_model.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

struct ModelBegins : std::runtime_error {
  ModelBegins() : std::runtime_error("the model begins") {}
};

/// One process up to where ranks agree on the model's type: just after the check, just before the model is built.
class UntilModel final : public FakeCommunicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  int threads = 0;

 private:
  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte> bytes) override {
    return {{bytes.begin(), bytes.end()}};
  }
  void do_all_reduce_sum(std::span<std::int64_t>) override {
    threads = omp_get_max_threads();
    throw ModelBegins();
  }
};

class ThreadsFirst : public testing::Test {
 protected:
  ThreadsFirst() {
    config_.model = tiny_config();
    config_.train.precision = Precision::bfloat16;
    config_.train.threads = before_ + 2;
  }
  ~ThreadsFirst() override { omp_set_num_threads(before_); }

  int before_ = omp_get_max_threads();
  RunConfig config_;
  UntilModel communicator_;
};

TEST_F(ThreadsFirst, InTraining) {
  const TemporaryDirectory directory;
  write_token_file(directory / "train.h5", {200});
  config_.data.train = (directory / "train.h5").string();
  config_.train.run_directory = (directory / "run").string();
  config_.train.watchdog_timeout = 0;
  config_.train.batch_size = 1;
  config_.train.sequence_length = 16;
  EXPECT_THROW(Trainer(config_, communicator_), ModelBegins);
  EXPECT_EQ(communicator_.threads, before_ + 2);
}

TEST_F(ThreadsFirst, InBenchmarks) {
  EXPECT_THROW(run_benchmark(config_, {}, communicator_), ModelBegins);
  EXPECT_EQ(communicator_.threads, before_ + 2);
}

}  // namespace
}  // namespace palimpsest
