// Virtual length: in training a segment writes to the memory with a whole weight r, as r repetitions of it would
// (core/kernels/memory.h), so that a short sequence fills the memory as a long one does.
#pragma once

#include <cmath>

#include "data/stream/draws.h"

namespace palimpsest {

/// The weights of one sequence's segments: floor(exp(L sqrt(u))), u uniform in [0, 1) anew for every segment, and for
/// the whole sequence L = ln(most) v, v uniform, or in 15 % of the sequences L = 0. So every magnitude up to `most` is
/// as likely as any other, and some sequences are what they seem.
class VirtualLength {
 public:
  VirtualLength(double most, Draws& draws) {
    const double log_length = std::log(most) * draws.uniform();
    if (draws.uniform() >= without_repetition) log_length_ = log_length;
  }

  float segment_weight(Draws& draws) const {
    return static_cast<float>(std::floor(std::exp(log_length_ * std::sqrt(draws.uniform()))));
  }

 private:
  static constexpr double without_repetition = 0.15;
  double log_length_ = 0;
};

}  // namespace palimpsest
