#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <vector>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include "core/comm/communication_counter.h"
#include "core/comm/communicator.h"
#include "core/comm/shares.h"
#include "core/comm/transfer_engine.h"
#include "core/error.h"
#include "tests/file_damage.h"

namespace {

std::atomic<bool> no_more_threads = false;

}  // namespace

/// Stands before the C library's, for a system that has no more threads to give.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                              void* argument) noexcept {
  if (no_more_threads) return EAGAIN;
  static const auto create = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, body, argument);
}

namespace palimpsest {
namespace {

using Task = TransferEngine::Task;

TEST(Shares, CoverTheBufferInRankOrder) {
  for (const std::size_t count : {0u, 1u, 16u, 17u, 100u, 4096u, 4097u}) {
    for (const int size : {1, 2, 3, 7, 64}) {
      std::size_t end = 0, longest = share_of(count, 0, size).size();
      for (int rank = 0; rank < size; ++rank) {
        const Share share = share_of(count, rank, size);
        EXPECT_EQ(share.begin, end);
        EXPECT_LE(share.size(), longest);
        end = share.end;
      }
      EXPECT_EQ(end, count);
      EXPECT_LT(longest, count / static_cast<std::size_t>(size) + 17);
    }
  }
}

/// Finishes, or fails, after so many looks; tells what it was asked.
class Steps final : public Task {
 public:
  Steps(const void* queue, int number, int steps, std::vector<int>* finished = nullptr, bool fails = false)
      : Task(queue), number_(number), steps_(steps), finished_(finished), fails_(fails) {}
  Progress advance() override {
    ++looks;
    if (--steps_ > 0) return Progress::some;
    if (finished_ != nullptr) finished_->push_back(number_);
    if (fails_) throw CommunicationError("rank 1 of 2: test failed: on purpose");
    return Progress::finished;
  }
  int looks = 0;

 private:
  int number_, steps_;
  std::vector<int>* finished_;
  bool fails_;
};

class Engine : public testing::TestWithParam<bool> {
 protected:
  std::shared_ptr<TransferEngine> engine_ = std::make_shared<TransferEngine>(GetParam());
};

TEST_P(Engine, FinishesWithWaitingAndByAsking) {
  Transfer waited = engine_->start(std::make_shared<Steps>(nullptr, 1, 100));
  waited.wait();
  EXPECT_TRUE(waited.done());
  waited.wait();  // once more does nothing
  Transfer asked = engine_->start(std::make_shared<Steps>(nullptr, 2, 100));
  while (!asked.done()) std::this_thread::yield();
  EXPECT_TRUE(Transfer().done());
}

TEST_P(Engine, GivingTheHandleUpWaits) {
  const auto task = std::make_shared<Steps>(nullptr, 1, 50);
  engine_->start(task);
  EXPECT_EQ(task->looks, 50);
  const auto replaced = std::make_shared<Steps>(nullptr, 1, 50);
  Transfer transfer = engine_->start(replaced);
  transfer = Transfer();
  EXPECT_EQ(replaced->looks, 50);
}

TEST_P(Engine, AFailureIsThrownToWhoAsksAndToNobodyElse) {
  const auto failing = [&] { return engine_->start(std::make_shared<Steps>(nullptr, 1, 3, nullptr, true)); };
  Transfer waited = failing(), asked = failing();
  EXPECT_THROW(waited.wait(), CommunicationError);
  EXPECT_THROW(while (!asked.done()) std::this_thread::yield(), CommunicationError);
  failing();  // given up: no exception leaves a destructor
  Transfer whole = engine_->start(std::make_shared<Steps>(nullptr, 1, 3));
  EXPECT_NO_THROW(whole.wait());
}

TEST_P(Engine, TasksOfAQueueGoOnInOrderTwoAtATime) {
  std::vector<int> finished;
  const int queue = 0;
  // The second is shorter than the first, the third than both; the last one is in no queue.
  Transfer first = engine_->start(std::make_shared<Steps>(&queue, 1, 2000, &finished));
  Transfer second = engine_->start(std::make_shared<Steps>(&queue, 2, 1000, &finished));
  Transfer third = engine_->start(std::make_shared<Steps>(&queue, 3, 1500, &finished));
  Transfer fourth = engine_->start(std::make_shared<Steps>(nullptr, 4, 1, &finished));
  for (Transfer* transfer : {&third, &first, &second, &fourth}) transfer->wait();
  if (!GetParam()) {
    EXPECT_EQ(finished, (std::vector<int>{4, 2, 1, 3}));
    return;
  }
  // The thread may be well on with one task before the next is there; but the third waits for a place.
  ASSERT_EQ(finished.size(), 4u);
  const auto place = [&](int task) { return std::ranges::find(finished, task) - finished.begin(); };
  EXPECT_GT(place(3), std::min(place(1), place(2)));
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutThread, Engine, testing::Bool(),
                         [](const auto& with) { return with.param ? "thread" : "driven"; });

TEST(EngineThread, WorksWhileTheCallerDoesNot) {
  const auto engine = std::make_shared<TransferEngine>(true);
  std::vector<int> finished;
  Transfer transfer = engine->start(std::make_shared<Steps>(nullptr, 1, 1000, &finished));
  // Nobody drives it but the thread: `done` only looks. Hangs, and times out, if there is none.
  while (!transfer.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(finished.size(), 1u);
}

TEST(EngineThread, WithoutAThreadNothingHasBegun) {
  const auto engine = std::make_shared<TransferEngine>(true);
  const auto task = std::make_shared<Steps>(nullptr, 1, 3);
  no_more_threads = true;
  EXPECT_TRUE(holds(message_of<CommunicationError>([&] { engine->start(task); }), "cannot start the thread"));
  no_more_threads = false;
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0) << "the caller still takes signals";
  engine->start(std::make_shared<Steps>(nullptr, 2, 3)).wait();
  EXPECT_EQ(task->looks, 0);
}

TEST(CommunicationCounter, CountsCallsByOperation) {
  const auto single = single_process();
  CommunicationCounter counter;
  std::vector<float> values(10);
  single->barrier();
  std::unique_ptr<Communicator> part;
  Transfer later;
  {
    const CommunicationObservation observation(*single, counter);
    single->all_reduce_sum(std::span(values));
    single->begin_all_reduce_sum(values).wait();
    later = single->begin_all_reduce_sum(values);
    single->barrier();
    part = single->split(0, 0);
  }
  part->barrier();
  single->barrier();  // nobody counts any more
  later.wait();
  EXPECT_EQ(counter.counts().operations.at("all_reduce_sum").calls, 1);
  EXPECT_EQ(counter.counts().operations.at("begin_all_reduce_sum").calls, 2);
  EXPECT_EQ(counter.counts().operations.at("barrier").calls, 2);
  EXPECT_EQ(counter.counts().calls(), 6);
  EXPECT_EQ(counter.counts().bytes(), 0) << "a single process sends nothing";
  EXPECT_GE(counter.counts().seconds_waited(), 0);
  counter.reset();
  EXPECT_EQ(counter.counts().calls(), 0);
}

}  // namespace
}  // namespace palimpsest
