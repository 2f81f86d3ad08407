// What to do about a loss that jumps (launch/training/loss_spike.h).
#pragma once

#include <cstdint>

namespace palimpsest {

enum class LossSpikePolicy { off, warn, skip };

struct LossSpikeConfig {
  LossSpikePolicy policy = LossSpikePolicy::warn;
  std::int64_t window = 100;  // steps
  double threshold = 10;      // spreads above the median
};

}  // namespace palimpsest
