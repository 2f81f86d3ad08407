#include "layers/projection.h"

#include "autograd/ops/bias.h"

namespace palimpsest {

Projection::Projection(const ModelConfig& config, const std::string& prefix, const std::string& name, std::int64_t out,
                       std::int64_t in, ParameterFactory& factory)
    : weight_(factory.create(prefix + name + ".weight", ParameterRole::matrix, {out, in})) {
  const LoraConfig& lora = config.lora;
  if (lora.changes(name)) {
    change_.down = factory.create(prefix + name + ".lora_A.weight", ParameterRole::matrix, {lora.rank, in});
    change_.up = factory.create(prefix + name + ".lora_B.weight", ParameterRole::lora_up, {out, lora.rank});
    change_.scale = lora.scale();
  }
  if (config.qkv_bias && (name == "q_proj" || name == "k_proj" || name == "v_proj")) {
    bias_ = factory.create(prefix + name + ".bias", ParameterRole::bias, {out});
  }
}

Variable linear(Tape& tape, const Variable& x, const Projection& projection,
                const std::shared_ptr<DeferredGradients>& deferred) {
  const LowRankChange& change = projection.change();
  const Variable product = change.defined() ? low_rank_linear(tape, x, projection.weight(), change, {}, deferred)
                                            : linear(tape, x, projection.weight(), deferred);
  return projection.bias().defined() ? add_bias(tape, product, projection.bias()) : product;
}

Variable linear_add(Tape& tape, const Variable& x, const Projection& projection, const Variable& residual,
                    const std::shared_ptr<DeferredGradients>& deferred) {
  if (!projection.change().defined()) return linear_add(tape, x, projection.weight(), residual, deferred);
  return low_rank_linear(tape, x, projection.weight(), projection.change(), residual, deferred);
}

}  // namespace palimpsest
