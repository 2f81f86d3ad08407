// Random numbers one after the other.
#pragma once

#include <cstdint>

#include "core/random.h"

namespace palimpsest {

class Draws {
 public:
  explicit Draws(const Random& random) : random_(random) {}
  /// In [0, 1).
  double uniform() { return random_.uniform(index_++); }
  /// In [0, bound), bound > 0.
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_.below(index_++, static_cast<std::uint64_t>(bound)));
  }

 private:
  Random random_;
  std::uint64_t index_ = 0;
};

}  // namespace palimpsest
