// How a model that was trained on a short context has had its rotary frequencies changed for a longer one.
#pragma once

#include <cstdint>

namespace palimpsest {

/// `linear`: positions are divided by the factor (Chen et al. 2023, arXiv 2306.15595). `llama3`: long wavelengths are
/// stretched, short ones are not, those between in part (Llama 3.1, as Hugging Face computes it).
enum class RotaryScalingKind { none, linear, llama3 };

struct RotaryScaling {
  RotaryScalingKind kind = RotaryScalingKind::none;
  double factor = 1;
  // Of kind llama3: wavelengths below original_length / high are kept, those above original_length / low divided.
  double low_frequency_factor = 1;
  double high_frequency_factor = 4;
  std::int64_t original_length = 8192;  // tokens of the context before

  /// The frequency that takes the place of `frequency`, in radians a token.
  double scaled(double frequency) const;
  bool operator==(const RotaryScaling&) const = default;
};

}  // namespace palimpsest
