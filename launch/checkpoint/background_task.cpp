#include "launch/checkpoint/background_task.h"

#include <utility>

#include <sys/resource.h>
#include <unistd.h>

#include "core/quiet_thread.h"

namespace palimpsest {

namespace {

constexpr int priority = 10;  // of `nice`

}  // namespace

BackgroundTask::BackgroundTask(std::function<void()> work)
    : thread_(quiet_thread([this, work = std::move(work)] {
        // On Linux this concerns the thread alone. Nothing but speed depends on it.
        setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), priority);
        try {
          work();
        } catch (...) {
          failure_ = std::current_exception();
        }
        done_ = true;
      })) {}

BackgroundTask::~BackgroundTask() { wait(); }

void BackgroundTask::wait() {
  if (thread_.joinable()) thread_.join();
}

void BackgroundTask::get() {
  wait();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace palimpsest
