// Which rank has fallen silent: the watchdog's judgement, apart from its threads and files.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/ranks/heartbeat.h"

namespace palimpsest {

/// Follows the heartbeats of all ranks, each compared to the one before, never to a clock: hosts may
/// disagree about the time, and it may jump. Time in which this process could not look itself (stopped,
/// or the whole machine suspended) counts as one interval between looks.
class SilenceJudge {
 public:
  using Clock = std::chrono::steady_clock;

  /// `timeout` seconds without a sign of life are too many; looks come every `interval` seconds.
  SilenceJudge(int ranks, double timeout, double interval);

  /// Takes what was read of every rank just now (nothing: not to be read). Returns what is wrong, if
  /// anything: a rank that has stopped, died or left early, one that does not get on although its process
  /// lives, or all ranks waiting for each other.
  std::optional<std::string> look(Clock::time_point now, const std::vector<std::optional<Heartbeat>>& heartbeats);

 private:
  struct Rank {
    std::optional<Heartbeat> last;
    double without_beat = 0;  // seconds
    double without_life = 0;
  };

  std::string describe(std::size_t rank, double seconds, const std::string& what) const;

  double timeout_;
  double interval_;
  std::optional<Clock::time_point> last_look_;
  std::vector<Rank> ranks_;
  double all_waiting_ = 0;  // seconds in which every rank waited for others and none got on
};

}  // namespace palimpsest
