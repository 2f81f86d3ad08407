// One layer of the decoder: RMSNorm -> attention -> add, RMSNorm -> feed-forward -> add.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "layers/attention/registry.h"
#include "layers/feed_forward.h"

namespace palimpsest {

class Block {
 public:
  /// Parameters are named "layers.3.input_layernorm.weight" and so on.
  Block(const ModelConfig& config, std::int64_t layer, ParameterFactory& factory);

  const Attention& attention() const { return *attention_; }

  /// x (lanes, tokens, hidden); the result's output is the next layer's x.
  Attention::Result forward(const ForwardContext& context, const Variable& x, const LayerVariables& state) const;

  /// One token of some lanes, x (rows, 1, hidden); see Attention::decode.
  Variable decode(const DecodeContext& context, const Variable& x, const LayerState& state, LayerState& segment) const;

 private:
  Block(const ModelConfig& config, const AttentionTraits& attention, const std::string& prefix,
        ParameterFactory& factory);

  double norm_epsilon_;
  std::size_t first_parameter_;
  Variable attention_norm_;
  std::unique_ptr<Attention> attention_;
  std::size_t first_feed_forward_parameter_;
  Variable feed_forward_norm_;
  FeedForward feed_forward_;
  std::size_t end_parameter_;
};

}  // namespace palimpsest
