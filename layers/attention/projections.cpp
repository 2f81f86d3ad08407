#include "layers/attention/projections.h"

#include <algorithm>

#include "autograd/ops/norm.h"

namespace palimpsest {

Projections::Projections(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory)
    : counts{config.num_heads, config.num_kv_heads, config.head_size},
      type(factory.compute_type()),
      query(config, prefix, "q_proj", query_size(), config.hidden_size, factory),
      key(config, prefix, "k_proj", kv_size(), config.hidden_size, factory),
      value(config, prefix, "v_proj", kv_size(), config.hidden_size, factory),
      output(config, prefix, "o_proj", config.hidden_size, query_size(), factory),
      norm_epsilon_(config.norm_epsilon) {
  if (!config.qk_norm) return;
  query_norm_ = factory.create(prefix + "q_norm.weight", ParameterRole::norm, {config.head_size});
  key_norm_ = factory.create(prefix + "k_norm.weight", ParameterRole::norm, {config.head_size});
}

Variable Projections::queries(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred) const {
  const Variable product = linear(tape, x, query, deferred);
  return query_norm_.defined() ? head_rms_norm(tape, product, query_norm_, norm_epsilon_) : product;
}

Variable Projections::keys(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred) const {
  const Variable product = linear(tape, x, key, deferred);
  return key_norm_.defined() ? head_rms_norm(tape, product, key_norm_, norm_epsilon_) : product;
}

Variable Projections::values(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred) const {
  return linear(tape, x, value, deferred);
}

double causal_attention_flops(const ModelConfig& config, std::int64_t tokens, std::int64_t run, std::int64_t overlap) {
  double keys = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += run) {
    const auto length = static_cast<double>(std::min(run, tokens - begin));
    keys += length * (length + 1) / 2 + length * static_cast<double>(std::min(begin, overlap));
  }
  return 2.0 * 2.0 * static_cast<double>(config.num_heads * config.head_size) * keys / static_cast<double>(tokens);
}

}  // namespace palimpsest
