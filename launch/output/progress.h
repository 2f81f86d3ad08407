// How fast something long is running, how long it will take, and numbers as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace palimpsest {

/// Measures the pace of work by the clock that never goes back; pauses (evaluation, checkpoints) do not count.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  /// One more unit of work (a step) of `items` items (tokens) that took `seconds`.
  void add(double items, double seconds);
  /// Items per second over the last few units.
  double items_per_second() const;
  /// Seconds that `units` more units will take; negative while nothing is known.
  double seconds_for(std::int64_t units) const;

 private:
  struct Unit {
    double items, seconds;
  };
  static constexpr std::size_t window = 32;
  std::vector<Unit> recent_;
  std::size_t next_ = 0;
};

/// Which of many progress lines stay, where there is no terminal whose line could renew itself: one every half minute.
class LastingLines {
 public:
  /// Whether the line after so many seconds of work stays.
  bool due(double seconds);

 private:
  static constexpr double seconds_between = 30;
  double next_ = seconds_between;
};

/// "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; "unknown" when negative.
std::string format_duration(double seconds);
/// "1 rank", "2 ranks".
std::string format_plural(std::int64_t count, std::string_view noun);
/// "950", "12.3 k", "4.56 M", "1.20 G".
std::string format_count(double count);
/// "12.3 k tokens/s".
std::string format_rate(std::int64_t tokens, double seconds);
/// "13.5 documents/s", "4.2 documents/min", "3.1 documents/h": the first of these units in which it is one or more.
std::string format_slow_rate(std::int64_t count, std::string_view nouns, double seconds);
/// "950 B", "12.3 kB".
std::string format_bytes(double bytes);

}  // namespace palimpsest
