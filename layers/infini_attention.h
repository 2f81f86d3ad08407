// Infini-attention (Munkhdalai, Faruqui, Gopal 2024): local causal attention and a compressive
// memory over the same queries, keys and values, joined by a learned gate.
#pragma once

#include <string>

#include "autograd/ops/memory.h"
#include "layers/forward_context.h"
#include "layers/model_config.h"
#include "layers/parameter_factory.h"

namespace palimpsest {

/// Keys and values of the tokens of an unfinished segment, for decoding token by token.
struct SegmentCache {
  Tensor key, rotated_key, value;  // (segment_length, kv_heads * head_size)
};

class InfiniAttention {
 public:
  InfiniAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

  struct Result {
    Variable output;      // (lanes, tokens, hidden)
    LayerMemory memory;   // after the last segment
    Variable key, value;  // (lanes, tokens, kv_heads * head_size), without position
  };
  /// residual + attention(x). x and residual (lanes, tokens, hidden).
  Result forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                 const LayerMemory& memory) const;

  /// residual + attention of one token, x (1, 1, hidden), at `position` of its segment, which the cache
  /// holds up to here and takes in; `memory` is the state before the segment, `reads` whether it holds
  /// the document.
  Variable decode(Tape& tape, const Variable& x, const Variable& residual, const LayerMemory& memory, bool reads,
                  SegmentCache& cache, std::int64_t position, const RotaryTable& rotary) const;

 private:
  HeadCounts counts_;
  MemoryRule rule_;
  bool gated_without_memory_;
  Variable query_, key_, value_, output_, gate_;
};

}  // namespace palimpsest
