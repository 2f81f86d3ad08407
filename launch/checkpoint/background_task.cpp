#include "launch/checkpoint/background_task.h"

#include <csignal>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

namespace palimpsest {

namespace {

constexpr int priority = 10;  // of `nice`

/// A thread inherits which signals are blocked.
std::thread thread_without_signals(std::function<void()> work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(work));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace

BackgroundTask::BackgroundTask(std::function<void()> work)
    : thread_(thread_without_signals([this, work = std::move(work)] {
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
