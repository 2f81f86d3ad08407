#include "launch/inference/stop_strings.h"

#include <algorithm>
#include <utility>

namespace palimpsest {

StopStrings::StopStrings(std::vector<std::string> stops, std::string held)
    : stops_(std::move(stops)), held_(std::move(held)) {}

std::string StopStrings::append(std::string_view text) {
  held_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    found_ = true;
    std::string before = held_.substr(0, first);
    held_.clear();
    return before;
  }
  std::size_t waiting = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t length = std::min(stop.size() - 1, held_.size()); length > waiting; --length) {
      if (held_.ends_with(std::string_view(stop).substr(0, length))) waiting = length;
    }
  }
  std::string certain = held_.substr(0, held_.size() - waiting);
  held_.erase(0, certain.size());
  return certain;
}

}  // namespace palimpsest
