#include "layers/feed_forward.h"

#include "autograd/ops/feed_forward.h"
#include "autograd/ops/linear.h"

namespace palimpsest {

FeedForward::FeedForward(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : gate_(factory.create(prefix + "gate_proj.weight", ParameterRole::matrix, {config.ffn_size, config.hidden_size})),
      up_(factory.create(prefix + "up_proj.weight", ParameterRole::matrix, {config.ffn_size, config.hidden_size})),
      down_(factory.create(prefix + "down_proj.weight", ParameterRole::matrix, {config.hidden_size, config.ffn_size})) {
}

Variable FeedForward::forward(const ForwardContext& context, const Variable& x, const Variable& residual) const {
  Tape& tape = *context.tape;
  const Variable gated = swiglu(tape, linear(tape, x, gate_, context.deferred), linear(tape, x, up_, context.deferred));
  Variable output = linear_add(tape, gated, down_, residual, context.deferred);
  context.release(gated);
  return output;
}

}  // namespace palimpsest
