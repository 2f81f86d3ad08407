// train.time_limit: when a run has to stop so that its last checkpoint is on disk before the time is up.
#pragma once

#include <chrono>

namespace palimpsest {

/// Learns how long steps, saves and evaluations take, by the clock that never goes back, and says when
/// there is no time for another step and the checkpoint after it.
class TimeLimit {
 public:
  using Clock = std::chrono::steady_clock;

  /// `seconds` from `start`; 0: no limit.
  explicit TimeLimit(double seconds, Clock::time_point start = Clock::now()) : limit_(seconds), start_(start) {}

  // What took how long. A step that was slow once is forgotten with the steps that follow; saves and
  // evaluations are few, so the longest one counts.
  void step_took(double seconds);
  void save_took(double seconds);
  void evaluation_took(double seconds);

  /// Whether the step that began at `step_start` has to be the last one. `evaluation_due`: an evaluation
  /// follows it if the run goes on.
  bool reached(Clock::time_point now, Clock::time_point step_start, bool evaluation_due) const;

 private:
  double limit_;
  Clock::time_point start_;
  double step_ = 0;
  double save_ = -1;  // nothing saved yet
  double evaluation_ = 0;
};

}  // namespace palimpsest
