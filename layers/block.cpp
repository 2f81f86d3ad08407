#include "layers/block.h"

#include "autograd/ops/norm.h"

namespace palimpsest {

Block::Block(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : norm_epsilon_(config.norm_epsilon),
      first_parameter_(factory.count()),
      attention_norm_(factory.create(prefix + "input_layernorm.weight", ParameterRole::norm, {config.hidden_size})),
      attention_(config, prefix + "self_attn.", factory),
      first_feed_forward_parameter_(factory.count()),
      feed_forward_norm_(
          factory.create(prefix + "post_attention_layernorm.weight", ParameterRole::norm, {config.hidden_size})),
      feed_forward_(config, prefix + "mlp.", factory),
      end_parameter_(factory.count()) {}

InfiniAttention::Result Block::forward(const ForwardContext& context, const Variable& x,
                                       const LayerMemory& memory) const {
  Tape& tape = context.tape;
  context.announce(first_parameter_, first_feed_forward_parameter_);
  const Variable attention_input = rms_norm(tape, x, attention_norm_, norm_epsilon_);
  InfiniAttention::Result result = attention_.forward(context, attention_input, x, memory);
  context.release(attention_input);
  context.announce(first_feed_forward_parameter_, end_parameter_);
  const Variable feed_forward_input = rms_norm(tape, result.output, feed_forward_norm_, norm_epsilon_);
  result.output = feed_forward_.forward(context, feed_forward_input, result.output);
  context.release(feed_forward_input);
  return result;
}

Variable Block::decode(Tape& tape, const Variable& x, const LayerMemory& memory, bool reads, SegmentCache& cache,
                       std::int64_t position, const RotaryTable& rotary) const {
  const Variable attended = attention_.decode(tape, rms_norm(tape, x, attention_norm_, norm_epsilon_), x, memory, reads,
                                              cache, position, rotary);
  const ForwardContext context{tape, nullptr, nullptr, nullptr, false};
  return feed_forward_.forward(context, rms_norm(tape, attended, feed_forward_norm_, norm_epsilon_), attended);
}

}  // namespace palimpsest
