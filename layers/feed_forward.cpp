#include "layers/feed_forward.h"

#include "autograd/ops/feed_forward.h"

namespace palimpsest {

FeedForward::FeedForward(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : gate_(config, prefix, "gate_proj", config.ffn_size, config.hidden_size, factory),
      up_(config, prefix, "up_proj", config.ffn_size, config.hidden_size, factory),
      down_(config, prefix, "down_proj", config.hidden_size, config.ffn_size, factory) {}

Variable FeedForward::forward(const ForwardContext& context, const Variable& x, const Variable& residual) const {
  Tape& tape = *context.tape;
  const Variable gated = swiglu(tape, linear(tape, x, gate_, context.deferred), linear(tape, x, up_, context.deferred));
  Variable output = linear_add(tape, gated, down_, residual, context.deferred);
  context.release(gated);
  return output;
}

}  // namespace palimpsest
