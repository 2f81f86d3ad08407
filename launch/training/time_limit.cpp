#include "launch/training/time_limit.h"

#include <algorithm>

namespace palimpsest {

namespace {

constexpr double forgetting = 0.97;  // of the longest step, with every further one
constexpr double margin = 1.25;      // what comes may take longer than what was
// Before the first save: a tenth of the limit, as long as that is not a long time.
constexpr double unknown_save_share = 0.1;
constexpr double unknown_save_seconds = 60;

double seconds_between(TimeLimit::Clock::time_point from, TimeLimit::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void TimeLimit::step_took(double seconds) { step_ = std::max(seconds, forgetting * step_); }
void TimeLimit::save_took(double seconds) { save_ = std::max(seconds, save_); }
void TimeLimit::evaluation_took(double seconds) { evaluation_ = std::max(seconds, evaluation_); }

bool TimeLimit::reached(Clock::time_point now, Clock::time_point step_start, bool evaluation_due) const {
  if (limit_ <= 0) return false;
  const double step = std::max(step_, seconds_between(step_start, now));
  const double save = save_ >= 0 ? save_ : std::min(unknown_save_share * limit_, unknown_save_seconds);
  const double ahead = step + save + (evaluation_due ? evaluation_ : 0);
  return seconds_between(start_, now) + margin * ahead >= limit_;
}

}  // namespace palimpsest
