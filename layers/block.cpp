#include "layers/block.h"

#include <fmt/format.h>

#include "autograd/ops/norm.h"

namespace palimpsest {

Block::Block(const ModelConfig& config, std::int64_t layer, ParameterFactory& factory)
    : Block(config, traits_of(kind_of_layer(config, layer)), fmt::format("layers.{}.", layer), factory) {}

Block::Block(const ModelConfig& config, const AttentionTraits& attention, const std::string& prefix,
             ParameterFactory& factory)
    : norm_epsilon_(config.norm_epsilon),
      first_parameter_(factory.count()),
      attention_norm_(factory.create(prefix + "input_layernorm.weight", ParameterRole::norm, {config.hidden_size})),
      attention_(attention.make(config, prefix + "self_attn.", factory)),
      first_feed_forward_parameter_(factory.count()),
      feed_forward_norm_(
          factory.create(prefix + "post_attention_layernorm.weight", ParameterRole::norm, {config.hidden_size})),
      feed_forward_(config, prefix + "mlp.", factory),
      end_parameter_(factory.count()) {}

Attention::Result Block::forward(const ForwardContext& context, const Variable& x, const LayerVariables& state) const {
  Tape& tape = *context.tape;
  context.announce(first_parameter_, first_feed_forward_parameter_);
  const Variable attention_input = rms_norm(tape, x, attention_norm_, norm_epsilon_);
  Attention::Result result = attention_->forward(context, attention_input, x, state);
  context.release(attention_input);
  context.announce(first_feed_forward_parameter_, end_parameter_);
  const Variable feed_forward_input = rms_norm(tape, result.output, feed_forward_norm_, norm_epsilon_);
  result.output = feed_forward_.forward(context, feed_forward_input, result.output);
  context.release(feed_forward_input);
  return result;
}

Variable Block::decode(const DecodeContext& context, const Variable& x, const LayerState& state,
                       LayerState& segment) const {
  Tape& tape = *context.tape;
  const Variable attended =
      attention_->decode(context, rms_norm(tape, x, attention_norm_, norm_epsilon_), x, state, segment);
  const ForwardContext nothing_kept{.tape = &tape};
  return feed_forward_.forward(nothing_kept, rms_norm(tape, attended, feed_forward_norm_, norm_epsilon_), attended);
}

}  // namespace palimpsest
