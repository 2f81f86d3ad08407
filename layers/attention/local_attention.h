// Causal softmax attention inside each segment and document, as Infini-attention has it, without the memory: a segment
// knows nothing of the one before.
#pragma once

#include "layers/attention/projections.h"
#include "layers/attention/registry.h"

namespace palimpsest {

class LocalAttention final : public Attention {
 public:
  LocalAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

  Result forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                 const LayerVariables& state) const override;
  LayerState empty_state(MemoryPool& pool, std::int64_t lanes) const override;
  LayerState empty_segment(MemoryPool& pool, std::int64_t lanes) const override;
  Variable decode(const DecodeContext& context, const Variable& x, const Variable& residual, const LayerState& state,
                  LayerState& segment) const override;
  void open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                    const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const override;
  void finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes, std::span<const std::int64_t> read,
                      const LayerState& segment, LayerState& state) const override;

 private:
  Projections projections_;
  std::int64_t segment_length_;
};

extern const AttentionTraits local_attention_traits;

}  // namespace palimpsest
