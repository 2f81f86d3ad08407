// One layer of the decoder: RMSNorm -> Infini-attention -> add, RMSNorm -> feed-forward -> add.
#pragma once

#include <string>

#include "layers/feed_forward.h"
#include "layers/infini_attention.h"

namespace palimpsest {

class Block {
 public:
  /// Parameters are named `prefix` + "input_layernorm.weight" and so on.
  Block(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

  /// x (lanes, tokens, hidden); the result's output is the next layer's x.
  InfiniAttention::Result forward(const ForwardContext& context, const Variable& x, const LayerMemory& memory) const;

  /// One token of an unfinished segment; see InfiniAttention::decode.
  Variable decode(Tape& tape, const Variable& x, const LayerMemory& memory, bool reads, SegmentCache& cache,
                  std::int64_t position, const RotaryTable& rotary) const;

 private:
  double norm_epsilon_;
  std::size_t first_parameter_;
  Variable attention_norm_;
  InfiniAttention attention_;
  std::size_t first_feed_forward_parameter_;
  Variable feed_forward_norm_;
  FeedForward feed_forward_;
  std::size_t end_parameter_;
};

}  // namespace palimpsest
