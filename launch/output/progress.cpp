#include "launch/output/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

void Pace::add(double items, double seconds) {
  if (recent_.size() < window) {
    recent_.push_back({items, seconds});
  } else {
    recent_[next_] = {items, seconds};
  }
  next_ = (next_ + 1) % window;
}

double Pace::items_per_second() const {
  double items = 0, seconds = 0;
  for (const Unit& unit : recent_) items += unit.items, seconds += unit.seconds;
  return seconds > 0 ? items / seconds : 0;
}

double Pace::seconds_for(std::int64_t units) const {
  if (recent_.empty()) return -1;
  double seconds = 0;
  for (const Unit& unit : recent_) seconds += unit.seconds;
  return seconds / static_cast<double>(recent_.size()) * static_cast<double>(units);
}

bool LastingLines::due(double seconds) {
  if (seconds < next_) return false;
  next_ = seconds + seconds_between;
  return true;
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0 && seconds < 1e12)) return "unknown";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  const std::int64_t minutes = total / 60, hours = minutes / 60, days = hours / 24;
  if (days > 0) return fmt::format("{} d {:02} h", days, hours % 24);
  if (hours > 0) return fmt::format("{} h {:02} min", hours, minutes % 60);
  if (minutes > 0) return fmt::format("{} min {:02} s", minutes, total % 60);
  return fmt::format("{} s", total);
}

std::string format_plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string format_count(double count) {
  for (const auto& [scale, unit] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (count >= scale) {
      const double scaled = count / scale;
      return fmt::format("{:.{}f} {}", scaled, scaled < 10 ? 2 : scaled < 100 ? 1 : 0, unit);
    }
  }
  return fmt::format("{:.0f}", count);
}

std::string format_rate(std::int64_t tokens, double seconds) {
  return format_count(static_cast<double>(tokens) / std::max(seconds, 1e-9)) + " tokens/s";
}

std::string format_slow_rate(std::int64_t count, std::string_view nouns, double seconds) {
  const double rate = static_cast<double>(count) / std::max(seconds, 1e-9);
  if (rate >= 1 || count == 0) return fmt::format("{:.1f} {}/s", rate, nouns);
  if (rate * 60 >= 1) return fmt::format("{:.1f} {}/min", rate * 60, nouns);
  return fmt::format("{:.1f} {}/h", rate * 3600, nouns);
}

std::string format_bytes(double bytes) { return format_count(bytes) + (bytes < 1000 ? " B" : "B"); }

}  // namespace palimpsest
