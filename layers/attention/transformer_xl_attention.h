// Transformer-XL (Dai et al. 2019): causal softmax attention inside each segment and over the cached keys and values of
// the `cache_length` tokens before it, as far as they belong to the same document. What is cached gets no gradient
// unless `cache_gradient` says so. Positions are relative: RoPE counts from the first key that a segment sees. It
// carries, per lane, "key" and "value", (lanes, cache_length, kv_heads * head_size), without position, the latest last;
// a document that has fewer tokens has rows without meaning in front.
#pragma once

#include "layers/attention/projections.h"
#include "layers/attention/registry.h"

namespace palimpsest {

class TransformerXlAttention final : public Attention {
 public:
  TransformerXlAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

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
  std::int64_t segment_length_, cache_length_;
  bool cache_gradient_;
};

extern const AttentionTraits transformer_xl_attention_traits;

}  // namespace palimpsest
