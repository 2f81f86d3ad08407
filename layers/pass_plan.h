// Choosing schedule and recomputation, lanes and tokens by what a pass costs in memory.
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

/// Bytes of what so many lanes carry from one pass to the next. `config` must be resolved.
std::int64_t state_bytes(const ModelConfig& config, std::int64_t lanes, DataType compute_type);

/// Bytes of what a teacher says of a batch (Distillation in layers/pass_options.h), kept as long as a pass, over and
/// above its parameters.
std::int64_t lesson_bytes(const ModelConfig& teacher, std::int64_t lanes, std::int64_t tokens, DataType compute_type);

/// Estimated bytes of its own pass, which comes before: it reads one lane after the other, and nothing is kept but what
/// it says.
std::int64_t teacher_bytes(const ModelConfig& teacher, std::int64_t lanes, std::int64_t tokens, DataType compute_type);

struct PassPlan {
  Schedule schedule;    // never automatic
  Recompute recompute;  // never automatic
  std::int64_t bytes;
};

/// Fills in what is automatic: the first of parallel with cheap values recomputed, parallel with
/// blocks recomputed, sequential with segments recomputed whose estimate is within `budget` bytes; the
/// last if none is. What is asked for stays as asked; recomputing segments is sequential in any case, and so is an
/// attention whose segments follow each other. Throws ConfigError when it is asked to be parallel.
PassPlan plan_pass(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, DataType compute_type,
                   Schedule schedule, Recompute recompute, std::int64_t budget);

/// Estimated bytes of what a pass without gradients uses over and above the parameters: the model's losses of lanes x
/// tokens, all segments at once, after `read` tokens of each lane's document. `keeps_state`: whether anything goes on
/// from there. `config` must be resolved.
std::int64_t forward_bytes(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, std::int64_t read,
                           DataType compute_type, bool keeps_state = true);

struct ForwardPlan {
  std::int64_t lanes;
  std::int64_t tokens;  // of each lane, a multiple of the segment's length
  std::int64_t bytes;
};

/// The largest pass without gradients whose estimate is within `budget` bytes: of `most_lanes` with as many whole
/// segments of `most_tokens` as fit, or with one segment of as many lanes as fit; one segment of one lane at least.
/// `most_read`: after so many tokens of the document at most.
ForwardPlan plan_forward(const ModelConfig& config, std::int64_t most_lanes, std::int64_t most_tokens,
                         std::int64_t most_read, DataType compute_type, std::int64_t budget);

}  // namespace palimpsest
