#include "core/comm/transfer_engine.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <pthread.h>

#include "core/error.h"
#include "core/quiet_thread.h"

namespace palimpsest {

namespace {

constexpr int active_per_queue = 2;
// Between looks at transfers that do not move: waking up costs the computing thread a few microseconds.
constexpr std::chrono::microseconds shortest_pause{50}, longest_pause{400};

}  // namespace

class TransferEngine::Handle final : public Transfer::Operation {
 public:
  Handle(std::shared_ptr<TransferEngine> engine, std::shared_ptr<Task> task)
      : engine_(std::move(engine)), task_(std::move(task)) {}

  bool done() override {
    if (!engine_->is_finished(*task_)) return false;
    if (task_->failure_) std::rethrow_exception(task_->failure_);
    return true;
  }
  void wait() override {
    engine_->wait_for(*task_);
    if (task_->failure_) std::rethrow_exception(task_->failure_);
  }

 private:
  std::shared_ptr<TransferEngine> engine_;
  std::shared_ptr<Task> task_;
};

TransferEngine::~TransferEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Transfer TransferEngine::start(std::shared_ptr<Task> task) {
  auto handle = std::make_unique<Handle>(shared_from_this(), task);
  {
    const std::lock_guard lock(mutex_);
    // First, since a task that has been started uses its caller's buffers.
    if (with_thread_ && !thread_.joinable()) start_thread();
    started_.push_back(task);
    ++under_way_;
  }
  wake_.notify_all();
  // Where there is a thread even the first messages are its business: the caller goes on computing.
  if (!with_thread_) advance_all();
  return Transfer(std::move(handle));
}

void TransferEngine::start_thread() {
  try {
    thread_ = quiet_thread([this] { run(); });
  } catch (const std::system_error& error) {
    throw CommunicationError(fmt::format("cannot start the thread that drives transfers: {}", error.what()));
  }
}

void TransferEngine::run() {
  pthread_setname_np(pthread_self(), "transfers");
  auto pause = shortest_pause;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (under_way_ == 0 || waiting_ > 0) {
      wake_.wait(lock);
      pause = shortest_pause;
      continue;
    }
    lock.unlock();
    const bool moved = advance_all();
    lock.lock();
    if (moved) {
      pause = shortest_pause;
    } else if (!stopping_ && waiting_ == 0) {
      wake_.wait_for(lock, pause);
      pause = std::min(2 * pause, longest_pause);
    }
  }
}

bool TransferEngine::advance_all() {
  const std::lock_guard driver(driving_);
  {
    const std::lock_guard lock(mutex_);
    tasks_.splice(tasks_.end(), started_);
  }
  bool moved = false;
  for (auto at = tasks_.begin(); at != tasks_.end();) {
    Task& task = **at;
    if (!may_go_on(at)) {
      ++at;
      continue;
    }
    Task::Progress progress = Task::Progress::finished;
    try {
      progress = task.advance();
    } catch (...) {
      task.failure_ = std::current_exception();
    }
    moved = moved || progress != Task::Progress::none;
    if (progress != Task::Progress::finished) {
      ++at;
      continue;
    }
    --under_way_;
    task.finished_ = true;
    at = tasks_.erase(at);
  }
  return moved;
}

bool TransferEngine::may_go_on(TaskList::const_iterator task) const {
  const void* const queue = (*task)->queue_;
  if (queue == nullptr) return true;
  int earlier = 0;
  for (auto at = tasks_.begin(); at != task && earlier < active_per_queue; ++at) earlier += (*at)->queue_ == queue;
  return earlier < active_per_queue;
}

bool TransferEngine::is_finished(const Task& task) {
  if (!task.finished_ && !with_thread_) advance_all();
  return task.finished_;
}

void TransferEngine::wait_for(const Task& task) {
  ++waiting_;
  while (!task.finished_) {
    // Another rank may need this core to make what we wait for.
    if (!advance_all()) std::this_thread::yield();
  }
  {
    const std::lock_guard lock(mutex_);
    --waiting_;
  }
  wake_.notify_all();
}

}  // namespace palimpsest
