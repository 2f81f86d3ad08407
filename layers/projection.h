// A learned product of a layer, the low-rank change of it that model.lora asks for, and its bias.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "autograd/ops/linear.h"
#include "autograd/ops/low_rank.h"
#include "layers/model_config.h"
#include "layers/parameter_factory.h"

namespace palimpsest {

/// "PREFIX.q_proj.weight" (out, in), and for the projections that LoRA changes "PREFIX.q_proj.lora_A.weight" (rank, in)
/// and "PREFIX.q_proj.lora_B.weight" (out, rank), as Hugging Face's PEFT names them. With model.qkv_bias "q_proj",
/// "k_proj" and "v_proj" also have "PREFIX.q_proj.bias" (out).
class Projection {
 public:
  /// `name` is "q_proj", `prefix` "layers.3.self_attn.".
  Projection(const ModelConfig& config, const std::string& prefix, const std::string& name, std::int64_t out,
             std::int64_t in, ParameterFactory& factory);

  const Variable& weight() const { return weight_; }
  /// Undefined where it has none.
  const LowRankChange& change() const { return change_; }
  /// Undefined where it has none.
  const Variable& bias() const { return bias_; }

 private:
  Variable weight_;
  LowRankChange change_;
  Variable bias_;
};

/// As the operators of autograd/ops/linear.h with a weight. What is added to a residual has no bias.
Variable linear(Tape& tape, const Variable& x, const Projection& projection,
                const std::shared_ptr<DeferredGradients>& deferred = nullptr);
Variable linear_add(Tape& tape, const Variable& x, const Projection& projection, const Variable& residual,
                    const std::shared_ptr<DeferredGradients>& deferred = nullptr);

}  // namespace palimpsest
