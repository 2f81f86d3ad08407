#include "launch/ranks/lookout.h"

#include <chrono>
#include <utility>

#include <unistd.h>

#include "core/elapsed.h"
#include "core/error.h"

namespace palimpsest {

namespace {

// Of the time between two heartbeats: less means that the rank is not computing.
constexpr double least_processor_share = 0.1;

/// Where a rank may spend any time without computing: in the hands of the file system, for instance.
bool may_rest(Phase phase) {
  return phase == Phase::starting || phase == Phase::loading || phase == Phase::saving || phase == Phase::finished;
}

}  // namespace

Lookout::Lookout(Settings settings, const RankStatus& status, double interval)
    : settings_(std::move(settings)),
      status_(status),
      watched_(watched_by(settings_.rank, settings_.ranks)),
      judge_(watched_, settings_.ranks, settings_.timeout, interval) {
  own_.rank = settings_.rank;
  own_.host = settings_.host;
  own_.process = getpid();
}

bool Lookout::write() {
  const Phase phase = status_.phase();
  const bool waiting = status_.waiting();
  const std::int64_t progress = status_.progress();
  const double processor = processor_seconds();
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
  return write_own();
}

bool Lookout::write_own() const {
  try {
    write_heartbeat(settings_.directory, own_);
    return true;
  } catch (const WriteError&) {
    return false;
  }
}

std::optional<std::string> Lookout::look() {
  std::vector<std::optional<Heartbeat>> heartbeats;
  for (const int rank : watched_) {
    heartbeats.push_back(rank == settings_.rank ? own_ : read_heartbeat(settings_.directory, rank));
  }
  auto wrong = judge_.look(SilenceJudge::Clock::now(), heartbeats);
  // Rank 0 speaks at once, so nobody who hears of it ends the job before the reason is told.
  if (wrong && settings_.rank == 0) {
    own_.ending = true;
    write_own();
  }
  return wrong;
}

}  // namespace palimpsest
