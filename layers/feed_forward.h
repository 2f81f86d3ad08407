// The SwiGLU feed-forward layer (Shazeer 2020).
#pragma once

#include <string>

#include "layers/forward_context.h"
#include "layers/model_config.h"
#include "layers/parameter_factory.h"
#include "layers/projection.h"

namespace palimpsest {

class FeedForward {
 public:
  FeedForward(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

  /// residual + down(silu(gate(x)) * up(x)). x and residual (lanes, tokens, hidden).
  Variable forward(const ForwardContext& context, const Variable& x, const Variable& residual) const;

 private:
  Projection gate_, up_, down_;
};

}  // namespace palimpsest
