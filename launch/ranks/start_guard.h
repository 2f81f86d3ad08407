// Ends a job that does not get started, because a rank has stopped or died before the watchdog was there.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace palimpsest {

/// Unless it is destroyed within `seconds` (0: never), `alarm` is called, once and from another thread.
class StartGuard {
 public:
  StartGuard(double seconds, std::function<void()> alarm);
  ~StartGuard();
  StartGuard(const StartGuard&) = delete;
  StartGuard& operator=(const StartGuard&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable started_changed_;
  bool started_ = false;
  std::thread thread_;
};

/// Says on standard error that the ranks have not come together for so long and ends this process with
/// ExitCode::watchdog; the launcher ends the others.
[[noreturn]] void end_start(double seconds);

}  // namespace palimpsest
