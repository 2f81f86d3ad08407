#include "launch/training/run_guard.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "launch/ranks/heartbeat.h"
#include "launch/ranks/placement.h"

namespace palimpsest {

RunGuard::RunGuard(const TrainConfig& config, Communicator& communicator)
    : watchdog_timeout_(config.watchdog_timeout),
      start_guard_(std::in_place, watchdog_timeout_, [seconds = watchdog_timeout_] { end_start(seconds); }),
      communicator_(communicator),
      time_limit_(config.time_limit) {}

RunLog RunGuard::open(const RunDirectory& directory) {
  RunLog log;
  if (communicator_.is_root()) {
    directory.create();
    log = RunLog(STDOUT_FILENO, on_terminal(STDOUT_FILENO));
    lock_.emplace(directory, RunLock::default_patience, [&](const std::string& text) { log.note(text); });
    log.add_file(directory.log());
    const std::string signs = last_signs_of_life(directory.heartbeats());
    if (!signs.empty()) {
      log.note(fmt::format("The job before did not end in order; its last signs of life: {}", signs));
    }
    std::error_code ignored;
    std::filesystem::remove_all(directory.heartbeats(), ignored);  // there may have been more ranks
  }
  communicator_.barrier();  // before that, no rank writes a heartbeat
  const Watchdog::Settings settings = {directory.heartbeats(), communicator_.rank(), communicator_.size(), host_name(),
                                       watchdog_timeout_};
  watchdog_.emplace(
      settings, status_, [settings](const std::string& what) { end_job(settings, what); },
      [this, settings] {
        if (!lock_) return;
        const std::string lost = lock_->check();
        if (!lost.empty()) end_job(settings, lost);
      });
  communicator_.barrier();
  start_guard_.reset();
  return log;
}

void RunGuard::begin_step(std::int64_t step, bool evaluation_follows) {
  step_start_ = TimeLimit::Clock::now();
  evaluation_follows_ = evaluation_follows;
  status_.set_step(step);
}

void RunGuard::begin_batch() {
  step_start_ = TimeLimit::Clock::now();
  evaluation_follows_ = false;
}

StopReason RunGuard::stop_reason() {
  return {stop_request_.signal(), time_limit_.reached(TimeLimit::Clock::now(), step_start_, evaluation_follows_)};
}

double RunGuard::step_seconds() const { return seconds_since(step_start_); }

}  // namespace palimpsest
