// Infini-attention (Munkhdalai, Faruqui, Gopal 2024): local causal attention and a compressive memory over the same
// queries, keys and values, joined by a learned gate. It carries, per lane, in the accumulate type:
//   matrix  (lanes, kv_heads, head_size, head_size), indexed key, value
//   norm    (lanes, kv_heads, head_size)
// and with an overlap, without position, of the last tokens:
//   key, value  (lanes, overlap, kv_heads * head_size)
// of which the lane's document has as many as it has tokens, at most all, the latest last.
#pragma once

#include "layers/attention/projections.h"
#include "layers/attention/registry.h"

namespace palimpsest {

class InfiniAttention final : public Attention {
 public:
  InfiniAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

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
  bool overlaps() const { return overlap_ > 0; }

  Projections projections_;
  Variable gate_;
  Variable gain_;   // undefined where reads are divided by the norm
  Variable decay_;  // undefined where all of the memory goes on
  MemoryRule rule_;
  bool adds_;
  bool gated_without_memory_;
  bool reads_by_key_;  // the memory, and not by query
  bool shifts_;        // whether values are written under the keys of the tokens before
  std::int64_t segment_length_, overlap_;
};

extern const AttentionTraits infini_attention_traits;

}  // namespace palimpsest
