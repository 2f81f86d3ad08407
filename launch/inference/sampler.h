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
  double min_p = 0;          // and among those at least so likely, next to the likeliest (Nguyen et al. 2024)
  /// Divides the positive logits of tokens that the text has already and multiplies the negative ones, as Hugging Face
  /// does (the CTRL paper, Keskar et al. 2019, section 4.1, divides all). 1: no penalty; more than 1 avoids repeating.
  double repetition_penalty = 1.0;
  std::uint64_t seed = 1;
};

/// Throws ConfigError naming the option whose value is out of range.
void check(const SamplingOptions& options);

/// Token number `index` of a generation, from the logits (vocab) of its predecessor. `seen` says of every token whether
/// the text has it; empty: of none. A pure function of its arguments. Throws NumericalError when a logit is not finite.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index,
                          std::span<const std::uint8_t> seen = {});

/// ln of the model's own probability of a token, before any of the options above.
double log_probability(std::span<const float> logits, std::int32_t token);

}  // namespace palimpsest
