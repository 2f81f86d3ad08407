// Scratch memory that a model's matrix products take: packed operands above all.
#pragma once

#include <cstdint>

#include "core/data_type.h"
#include "layers/model_config.h"

namespace palimpsest {

enum class Products { forward, forward_and_backward };

/// Bytes that the products of a pass need most, with `rows` tokens going through the layers together, on as many OpenMP
/// threads as are set now. The pool keeps them (core/storage.h). `config` must be resolved.
std::int64_t product_scratch_bytes(const ModelConfig& config, std::int64_t rows, DataType compute_type,
                                   Products products);

}  // namespace palimpsest
