// Drives the transfers of a process forward. MPI moves nothing unless somebody calls it: a thread of the engine does,
// while transfers are under way and the caller computes; a caller that waits does it itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "core/comm/transfer.h"

namespace palimpsest {

class TransferEngine : public std::enable_shared_from_this<TransferEngine> {
 public:
  /// One operation, driven by `advance` calls, never two at a time.
  class Task {
   public:
    /// Tasks of one queue (not null) go on in the order in which they were started, two at a time, so that the
    /// earliest finish first and scratch memory is bounded; others go on at once.
    explicit Task(const void* queue) : queue_(queue) {}
    virtual ~Task() = default;

    enum class Progress { none, some, finished };
    /// Does what can be done without waiting.
    virtual Progress advance() = 0;

   private:
    friend class TransferEngine;
    const void* queue_;
    std::exception_ptr failure_;
    std::atomic<bool> finished_ = false;
  };

  /// With a thread of its own, or driven by those who wait only.
  explicit TransferEngine(bool with_thread) : with_thread_(with_thread) {}
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  /// Throws CommunicationError when the thread cannot be started; the task has not begun then.
  Transfer start(std::shared_ptr<Task> task);

 private:
  class Handle;

  using TaskList = std::list<std::shared_ptr<Task>>;

  /// Throws CommunicationError when there can be no more threads.
  void start_thread();
  void run();
  /// Whether no more than one task before it is of its queue.
  bool may_go_on(TaskList::const_iterator task) const;
  /// Advances every task that may go on. Returns whether anything moved. Throws nothing: what a task throws is for
  /// whoever waits for it.
  bool advance_all();
  void wait_for(const Task& task);
  bool is_finished(const Task& task);

  const bool with_thread_;
  std::mutex driving_;  // of tasks_; held while they advance
  TaskList tasks_;      // under way, in the order of their start
  std::mutex mutex_;    // of what follows; taken after driving_, and held for moments only, so that
                        // nobody who starts a task waits for one that advances
  std::condition_variable wake_;
  TaskList started_;  // to become tasks_
  bool stopping_ = false;
  std::atomic<int> under_way_ = 0;  // tasks not finished
  std::atomic<int> waiting_ = 0;    // callers who drive the engine themselves
  std::thread thread_;
};

}  // namespace palimpsest
