// What a user sees while something long is running: a line that renews itself on a terminal, plain
// lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <spdlog/sinks/base_sink.h>

namespace palimpsest {

/// Whether a descriptor of this process ends at a terminal. mpirun gives its ranks a pseudo-terminal
/// wherever its own output goes, so under it mpirun's descriptor is asked.
bool on_terminal(int descriptor);

/// The place where log lines and the progress line meet: a log line erases the progress line first.
class Console final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  Console(std::FILE* stream, bool terminal) : stream_(stream), terminal_(terminal) {}
  ~Console() override { clear_progress(); }

  bool is_terminal() const { return terminal_; }
  /// Renews the progress line, on a terminal; does nothing elsewhere.
  void show_progress(const std::string& text);
  void clear_progress();

 private:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override { std::fflush(stream_); }
  void erase();

  std::FILE* stream_;
  bool terminal_;
  bool shown_ = false;
};

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

/// "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; "unknown" when negative.
std::string format_duration(double seconds);
/// "1 rank", "2 ranks".
std::string format_plural(std::int64_t count, std::string_view noun);
/// "950", "12.3 k", "4.56 M", "1.20 G".
std::string format_count(double count);

}  // namespace palimpsest
