// The Memorizing Transformer (Wu, Rabe, Hutchins and Szegedy 2022): in one layer, `memory_layer`, a token also attends
// to the `top_k` keys nearest to it among those of its document before its segment, of which the last `store_size` are
// stored, without position and without gradient. A learned gate per head joins that with local attention, as
// Infini-attention's does. The other layers are local. It carries, per lane, "key" and "value", (lanes, store_size,
// kv_heads * head_size), the latest last; a document that has fewer tokens has rows without meaning in front.
#pragma once

#include "layers/attention/projections.h"
#include "layers/attention/registry.h"

namespace palimpsest {

/// Of the layer that has the store.
class MemorizingAttention final : public Attention {
 public:
  MemorizingAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

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
  Variable gate_;
  std::int64_t segment_length_, store_size_, top_k_;
};

extern const AttentionTraits memorizing_attention_traits;

}  // namespace palimpsest
