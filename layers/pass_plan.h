// Choosing schedule and recomputation by what they cost in memory.
#pragma once

#include <cstdint>

#include "core/data_type.h"
#include "layers/model_config.h"
#include "layers/pass_options.h"

namespace palimpsest {

/// Estimated bytes of what a forward and backward pass keeps and uses, over and above parameters,
/// their gradients and the optimiser's state. `config` must be resolved.
std::int64_t pass_bytes(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, DataType compute_type,
                        Schedule schedule, Recompute recompute);

struct PassPlan {
  Schedule schedule;    // never automatic
  Recompute recompute;  // never automatic
  std::int64_t bytes;
};

/// Fills in what is automatic: the first of parallel with cheap values recomputed, parallel with
/// blocks recomputed, sequential with segments recomputed whose estimate is within `budget` bytes; the
/// last if none is. What is asked for stays as asked; recomputing segments is sequential in any case.
PassPlan plan_pass(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, DataType compute_type,
                   Schedule schedule, Recompute recompute, std::int64_t budget);

}  // namespace palimpsest
