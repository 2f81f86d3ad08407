// Work that goes on in a thread of its own while training does.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

namespace palimpsest {

/// Runs `work`, which must not communicate, at a lower priority than the calling thread. Signals stay
/// with the other threads.
class BackgroundTask {
 public:
  explicit BackgroundTask(std::function<void()> work);
  /// Waits for the end of the work.
  ~BackgroundTask();
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;

  bool done() const { return done_; }
  void wait();
  /// Waits, and throws what the work threw.
  void get();

 private:
  std::exception_ptr failure_;
  std::atomic<bool> done_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace palimpsest
