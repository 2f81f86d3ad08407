// What every kind of attention here has in common with Llama's: projections to queries, keys and values, and back.
#pragma once

#include <memory>
#include <string>

#include "autograd/ops/memory.h"
#include "layers/model_config.h"
#include "layers/parameter_factory.h"
#include "layers/projection.h"

namespace palimpsest {

struct Projections {
  Projections(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

  HeadCounts counts;
  DataType type;  // of activations
  Projection query, key, value, output;

  /// x (..., hidden) -> (..., heads * head_size), or (..., kv_heads * head_size): as attention and memory take them,
  /// without position. `deferred` as for linear.
  Variable queries(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred = nullptr) const;
  Variable keys(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred = nullptr) const;
  Variable values(Tape& tape, const Variable& x, const std::shared_ptr<DeferredGradients>& deferred = nullptr) const;

  std::int64_t query_size() const { return counts.heads * counts.head_size; }
  std::int64_t kv_size() const { return counts.kv_heads * counts.head_size; }

 private:
  Variable query_norm_, key_norm_;  // (head_size), with model.qk_norm
  double norm_epsilon_;
};

/// FLOPs per token of causal attention with `num_heads` heads when tokens see 1, 2, ... keys of runs of `run` tokens,
/// and up to `overlap` keys in front of their run; mean over `tokens` tokens, the last run may be short.
double causal_attention_flops(const ModelConfig& config, std::int64_t tokens, std::int64_t run,
                              std::int64_t overlap = 0);

}  // namespace palimpsest
