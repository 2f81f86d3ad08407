#include "launch/ranks/watchdog.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "core/quiet_thread.h"
#include "launch/output/exit_codes.h"

namespace palimpsest {

double Watchdog::interval(double timeout) { return timeout > 0 ? std::min(timeout / 15, 5.0) : 5.0; }

Watchdog::Watchdog(Settings settings, const RankStatus& status, Alarm alarm, Beat beat)
    : status_(status),
      alarm_(std::move(alarm)),
      beat_(std::move(beat)),
      interval_(interval(settings.timeout)),
      lookout_(std::move(settings), status, interval_) {
  lookout_.write();
  watcher_ = quiet_thread([this] { run(&Watchdog::watch); });
  if (lookout_.settings().timeout > 0) guard_ = quiet_thread([this] { run(&Watchdog::guard); });
}

Watchdog::~Watchdog() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  ending_changed_.notify_all();
  watcher_.join();
  if (guard_.joinable()) guard_.join();
  lookout_.write();
}

bool Watchdog::wait(double seconds) {
  std::unique_lock lock(mutex_);
  ending_changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return ending_; });
  return !ending_;
}

void Watchdog::run(void (Watchdog::*body)()) {
  try {
    (this->*body)();
  } catch (const std::exception& error) {
    raise(fmt::format("it has failed itself: {}", error.what()));
  }
}

void Watchdog::watch() {
  while (wait(interval_)) {
    const bool written = lookout_.write();
    beat_();
    if (lookout_.settings().timeout > 0 && written) {
      if (const auto wrong = lookout_.look()) raise(*wrong);
    }
    ++rounds_;
  }
}

void Watchdog::guard() {
  double silent = 0;
  std::int64_t seen = rounds_;
  while (wait(interval_)) {
    const std::int64_t rounds = rounds_;
    silent = rounds == seen ? silent + interval_ : 0;
    seen = rounds;
    if (silent >= lookout_.settings().timeout) {
      raise(fmt::format("{}: the file system has not answered for {:.3g} s; this rank's phase: {}",
                        lookout_.settings().directory.string(), silent, status_.describe()));
    }
  }
}

void Watchdog::raise(const std::string& what) {
  if (!raised_.exchange(true)) alarm_(what);
}

void end_job(const Watchdog::Settings& settings, const std::string& what) {
  std::this_thread::sleep_for(std::chrono::milliseconds(100) * std::min(settings.rank, 20));
  const std::string text =
      fmt::format("palimpsest: error: rank {} of {} on {}: watchdog: {}; ending the job, which may be started again\n",
                  settings.rank, settings.ranks, settings.host, what);
  // Not through stdio, whose locks the thread that hangs may hold.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  _exit(ExitCode::watchdog);
}

}  // namespace palimpsest
