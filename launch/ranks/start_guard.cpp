#include "launch/ranks/start_guard.h"

#include <chrono>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "core/quiet_thread.h"
#include "launch/output/exit_codes.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

StartGuard::StartGuard(double seconds, std::function<void()> alarm) {
  if (seconds <= 0) return;
  thread_ = quiet_thread([this, seconds, alarm = std::move(alarm)] {
    std::unique_lock lock(mutex_);
    const auto patience = std::chrono::duration<double>(seconds);
    if (!started_changed_.wait_for(lock, patience, [&] { return started_; })) alarm();
  });
}

StartGuard::~StartGuard() {
  {
    const std::scoped_lock lock(mutex_);
    started_ = true;
  }
  started_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void end_start(double seconds) {
  const std::string text = fmt::format(
      "palimpsest: error: process {} on {}: the ranks have not come together within {:.3g} s of their start: one of "
      "them has stopped or died; ending the job, which may be started again\n",
      getpid(), host_name(), seconds);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  _exit(ExitCode::watchdog);
}

}  // namespace palimpsest
