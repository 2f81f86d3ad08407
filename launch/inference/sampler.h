// Choosing the next token from the model's logits.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

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
  /// No run of so many tokens comes twice in what is drawn since text was last appended (Paulus et al. 2018, section
  /// 2.5); 0: any may. What was only read does not count: a name of a long text may come again.
  std::int64_t no_repeat_ngram = 0;
  std::int64_t min_tokens = 0;  // the end token is not among the first so many that are drawn
};

/// Throws ConfigError naming the option whose value is out of range.
void check(const SamplingOptions& options);

/// Token number `index` of a generation, from the logits (vocab) of its predecessor. `seen` says of every token whether
/// the text has it; empty: of none. `forbidden` lists tokens that it is not, never all of them. A pure function of its
/// arguments. Throws NumericalError when a logit is not finite.
std::int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index,
                          std::span<const std::uint8_t> seen = {}, std::span<const std::int32_t> forbidden = {});

/// The logits after the repetition penalty. Throws NumericalError, naming `index`, when one is not finite.
std::vector<float> penalized_logits(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index,
                                    std::span<const std::uint8_t> seen);

/// Of a forbidden token.
inline constexpr float no_logit = -std::numeric_limits<float>::infinity();

/// ln of the model's own probability of a token, before any of the options above.
double log_probability(std::span<const float> logits, std::int32_t token);

}  // namespace palimpsest
