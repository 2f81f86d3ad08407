// Choosing the next token from the model's logits.
#pragma once

#include <cstdint>
#include <span>

#include "core/random.h"

namespace palimpsest {

struct SamplingOptions {
  double temperature = 1.0;  // 0: always the likeliest token
  std::int64_t top_k = 0;    // sample among the k likeliest only; 0: all
  double top_p = 1.0;        // and among the fewest whose probabilities reach p (Holtzman et al. 2020)
  std::uint64_t seed = 1;
};

/// Throws ConfigError naming the option whose value is out of range.
void check(const SamplingOptions& options);

/// Token number `index` of a generation, from the logits (vocab) of its predecessor. A pure function
/// of its arguments. Throws NumericalError when a logit is not finite.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index);

}  // namespace palimpsest
