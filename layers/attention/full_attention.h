// Dense causal softmax attention over all of a document, segments or not. It carries, per lane, the keys and values
// so far: "key" and "value", (lanes, tokens, kv_heads * head_size), without position, the latest last. A lane whose
// document has fewer tokens than another's has rows without meaning in front. RoPE counts from the first key kept.
#pragma once

#include "layers/attention/projections.h"
#include "layers/attention/registry.h"

namespace palimpsest {

class FullAttention final : public Attention {
 public:
  FullAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

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

extern const AttentionTraits full_attention_traits;

}  // namespace palimpsest
