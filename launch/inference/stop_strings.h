// Texts at which a generation stops, found in a text that comes piece by piece.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace palimpsest {

/// Passes text on, but for what may turn out to be the beginning of a stop string: that waits.
class StopStrings {
 public:
  /// Of which none may be empty. `held`: what waits already.
  explicit StopStrings(std::vector<std::string> stops, std::string held = {});

  /// The text that is certain now. Where a stop string is found, the text before the first of them; what follows is
  /// given up.
  std::string append(std::string_view text);
  bool found() const { return found_; }
  /// What waits.
  const std::string& held() const { return held_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace palimpsest
