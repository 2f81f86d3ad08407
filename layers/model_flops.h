// Floating-point operations that the model needs, by which speed is judged (docs/performance.md).
#pragma once

#include <cstdint>

#include "layers/model_config.h"

namespace palimpsest {

/// Model FLOPs per token of a forward and backward pass:
///   6 (matrix parameters, head included, embedding not)
///   + 3 layers (the attention's own, of Infini-attention
///       4 num_heads head_size (mean keys attended per token)
///       + num_heads (read 2 d^2 + write 2 d^2; delta: one more read)).
/// `sequence_length` tokens of one document in segments of config.segment_length (resolved).
/// Recomputation does not count.
double training_flops_per_token(const ModelConfig& config, std::int64_t sequence_length);

/// Elements of the matrices of a layer.
std::int64_t layer_matrix_parameters(const ModelConfig& config);

/// The forward pass alone: a third of it.
double inference_flops_per_token(const ModelConfig& config, std::int64_t sequence_length);

}  // namespace palimpsest
