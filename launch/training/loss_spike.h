// Notices a loss that jumps: far above the median of the last steps, measured by their median absolute deviation.
// Both stay where they are however wild single values get.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "configs/options/loss_spike_config.h"

namespace palimpsest {

struct LossSpike {
  double loss = 0;
  double median = 0;  // of the window
  double spread = 0;  // 1.4826 median absolute deviations: the standard deviation, were losses normal

  /// "the loss 9.1 is a spike, 25 times the spread 0.2 above the median 4.1 of the last steps".
  std::string describe() const;
};

class LossSpikeDetector {
 public:
  explicit LossSpikeDetector(const LossSpikeConfig& config) : config_(config) {}

  /// Judges the next step's loss by those before it, and remembers it, a spike too: a level that stays is no spike for
  /// long. A loss that is not finite is neither judged nor remembered. Judges nothing before the window is half full.
  std::optional<LossSpike> look(double loss);

  /// The losses it judges by, the oldest first: what a checkpoint has to keep.
  const std::vector<double>& window() const { return window_; }
  void restore(std::vector<double> window);

 private:
  LossSpikeConfig config_;
  std::vector<double> window_;
};

}  // namespace palimpsest
