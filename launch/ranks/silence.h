// Which rank has fallen silent: the watchdog's judgement, apart from its threads and files.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/ranks/heartbeat.h"

namespace palimpsest {

/// The ranks whose heartbeats `rank` of `ranks` follows: rank 0 everybody's, the others rank 0's and their own. So the
/// number of files opened grows with the ranks and not with their square, and whoever falls silent is missed: others by
/// rank 0, which tells everybody by its own heartbeat (Heartbeat::ending), and rank 0 by everybody.
std::vector<int> watched_by(int rank, int ranks);

/// Follows the heartbeats of some ranks, each compared to the one before, never to a clock: hosts may
/// disagree about the time, and it may jump. Time in which this process could not look itself (stopped,
/// or the whole machine suspended) counts as one interval between looks.
class SilenceJudge {
 public:
  using Clock = std::chrono::steady_clock;

  /// `watched` of the job's `ranks`. `timeout` seconds without a sign of life are too many; looks come every
  /// `interval` seconds.
  SilenceJudge(const std::vector<int>& watched, int ranks, double timeout, double interval);

  /// Takes what was read of each watched rank just now (nothing: not to be read). Returns what is wrong, if
  /// anything: a rank that ends the job, has stopped, died or left early, one that does not get on although its
  /// process lives, or, if all are watched, all ranks waiting for each other.
  std::optional<std::string> look(Clock::time_point now, const std::vector<std::optional<Heartbeat>>& heartbeats);

 private:
  struct Rank {
    int number = 0;
    std::optional<Heartbeat> last;
    double without_beat = 0;  // seconds
    double without_life = 0;
    bool ends = false;  // the job, since we have followed it
  };

  std::string describe(const Rank& rank, const std::string& what) const;
  /// describe, with " for 600 s" behind `what`.
  std::string describe(const Rank& rank, double seconds, const std::string& what) const;

  int job_ranks_;
  double timeout_;
  double interval_;
  std::optional<Clock::time_point> last_look_;
  std::vector<Rank> ranks_;  // that are watched
  double all_waiting_ = 0;   // seconds in which every rank waited for others and none got on
};

}  // namespace palimpsest
