// How much a pass without gradients computes together where it has the choice.
#pragma once

#include <cstdint>

#include "layers/model_config.h"

namespace palimpsest {

/// Rows of activations, lanes x tokens: more leave the caches between two operators, fewer read the weights too often.
inline constexpr std::int64_t rows_at_once = 4096;

/// The lanes whose losses token_losses (layers/training_pass.h) computes together: all of them, or as many as make up
/// rows_at_once, in groups of about one size. `config` must be resolved.
std::int64_t lanes_at_once(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens);

}  // namespace palimpsest
