#include "launch/ranks/watchdog.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/output/exit_codes.h"
#include "launch/ranks/quiet_thread.h"

namespace palimpsest {

namespace {

// Of the time between two heartbeats: less means that the rank is not computing.
constexpr double least_processor_share = 0.1;

double processor_time() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Where a rank may spend any time without computing: in the hands of the file system, for instance.
bool may_rest(Phase phase) {
  return phase == Phase::starting || phase == Phase::loading || phase == Phase::saving || phase == Phase::finished;
}

}  // namespace

double Watchdog::interval(double timeout) { return timeout > 0 ? std::min(timeout / 15, 5.0) : 5.0; }

Watchdog::Watchdog(Settings settings, const RankStatus& status, Alarm alarm, Beat beat)
    : settings_(std::move(settings)),
      status_(status),
      alarm_(std::move(alarm)),
      beat_(std::move(beat)),
      interval_(interval(settings_.timeout)) {
  own_.rank = settings_.rank;
  own_.host = settings_.host;
  own_.process = getpid();
  write();
  watcher_ = quiet_thread([this] { watch(); });
  if (settings_.timeout > 0) guard_ = quiet_thread([this] { guard(); });
}

Watchdog::~Watchdog() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  ending_changed_.notify_all();
  watcher_.join();
  if (guard_.joinable()) guard_.join();
  write();
}

bool Watchdog::wait(double seconds) {
  std::unique_lock lock(mutex_);
  ending_changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return ending_; });
  return !ending_;
}

bool Watchdog::write() {
  const Phase phase = status_.phase();
  const bool waiting = status_.waiting();
  const std::int64_t progress = status_.progress();
  const double processor = processor_time();
  const auto now = SilenceJudge::Clock::now();
  const double passed = std::chrono::duration<double>(now - last_write_).count();
  const bool computing = processor - last_processor_time_ >= least_processor_share * passed;
  if (progress != last_progress_ || computing || waiting || may_rest(phase)) ++own_.alive;
  last_progress_ = progress;
  last_processor_time_ = processor;
  last_write_ = now;
  ++own_.beat;
  own_.progress = progress;
  own_.step = status_.step();
  own_.phase = name_of(phase);
  own_.waiting = waiting;
  try {
    write_heartbeat(settings_.directory, own_);
    return true;
  } catch (const WriteError&) {
    return false;  // the next save says so, if it lasts
  }
}

void Watchdog::watch() {
  SilenceJudge judge(settings_.ranks, settings_.timeout, interval_);
  while (wait(interval_)) {
    const bool written = write();
    beat_();
    if (settings_.timeout > 0 && written) {
      std::vector<std::optional<Heartbeat>> heartbeats;
      for (int rank = 0; rank < settings_.ranks; ++rank) {
        heartbeats.push_back(rank == settings_.rank ? own_ : read_heartbeat(settings_.directory, rank));
      }
      if (const auto wrong = judge.look(SilenceJudge::Clock::now(), heartbeats)) raise(*wrong);
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
    if (silent >= settings_.timeout) {
      raise(fmt::format("{}: the file system has not answered for {:.3g} s; this rank's phase: {}",
                        settings_.directory.string(), silent, status_.describe()));
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
