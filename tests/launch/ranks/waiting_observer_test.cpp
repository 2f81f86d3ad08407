// Waiting for other ranks is noted wherever it happens, and nothing else is.
#include "launch/ranks/waiting_observer.h"

#include <array>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace palimpsest {
namespace {

/// Looks at the status whenever it is asked for something that may have to wait.
class Looking final : public Communicator {
 public:
  explicit Looking(const RankStatus& status) : status_(status) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string description() const override { return "looking"; }
  void do_all_reduce_sum(std::span<float>) override { look(); }
  void do_all_reduce_sum(std::span<double>) override { look(); }
  void do_all_reduce_sum(std::span<std::int64_t>) override { look(); }
  void do_all_reduce_max(std::span<std::int64_t>) override { look(); }
  void do_broadcast(std::span<std::byte>, int) override { look(); }
  std::vector<std::vector<std::byte>> do_all_gather(std::span<const std::byte>) override {
    look();
    return {};
  }
  void do_barrier() override { look(); }
  Transfer do_begin_all_reduce_sum(std::span<float>, WireType) override { return begin(); }
  Transfer do_begin_reduce_scatter_sum(std::span<float>, WireType) override { return begin(); }
  Transfer do_begin_all_gather_shares(std::span<float>) override { return begin(); }
  Transfer do_begin_all_gather(std::span<const std::byte>, std::span<std::byte>) override { return begin(); }
  std::unique_ptr<Communicator> do_split(int, int) override {
    look();
    return std::make_unique<Looking>(status_);
  }
  void abort(int) override { std::abort(); }

  static inline int waits = 0;  // seen with the status saying so

 private:
  struct Operation final : Transfer::Operation {
    explicit Operation(Looking& communicator) : communicator(communicator) {}
    bool done() override { return false; }
    void wait() override { communicator.look(); }
    Looking& communicator;
  };

  void look() { waits += status_.waiting(); }
  Transfer begin() {
    EXPECT_FALSE(status_.waiting()) << "the caller goes on";
    return Transfer(std::make_unique<Operation>(*this));
  }

  const RankStatus& status_;
};

/// Calls every operation once.
void use(Communicator& communicator) {
  std::array<float, 1> floats{};
  std::array<double, 1> doubles{};
  std::array<std::int64_t, 1> integers{};
  std::array<std::byte, 1> bytes{};
  communicator.all_reduce_sum(floats);
  communicator.all_reduce_sum(doubles);
  communicator.all_reduce_sum(integers);
  communicator.all_reduce_max(integers);
  communicator.broadcast(bytes, 0);
  communicator.all_gather(bytes);
  communicator.barrier();
  communicator.begin_all_reduce_sum(floats).wait();
  communicator.begin_reduce_scatter_sum(floats).wait();
  communicator.begin_all_gather_shares(floats).wait();
  communicator.begin_all_gather(bytes, bytes).wait();
}

TEST(WaitingObserver, NotesEveryWait) {
  RankStatus status;
  Looking looking(status);
  WaitingObserver waiting(status);
  const CommunicationObservation observation(looking, waiting);
  Looking::waits = 0;
  const std::int64_t before = status.progress();
  use(looking);
  EXPECT_EQ(Looking::waits, 11);
  EXPECT_EQ(status.progress(), before + 22) << "beginning and ending to wait is progress";
  use(*looking.split(0, 0));
  EXPECT_EQ(Looking::waits, 23);
  EXPECT_FALSE(status.waiting());
}

TEST(WaitingObserver, AFailureEndsTheWait) {
  RankStatus status;
  const auto single = single_process();
  WaitingObserver waiting(status);
  const CommunicationObservation observation(*single, waiting);
  EXPECT_THROW(single->broadcast({}, 1), CommunicationError);
  EXPECT_FALSE(status.waiting());
}

}  // namespace
}  // namespace palimpsest
