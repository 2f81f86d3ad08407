// The Recurrent Memory Transformer (Bulatov, Kuratov and Burtsev 2022) for a decoder: `memory_tokens` rows go in front
// of a segment's tokens and the same rows once more behind them; attention is causal over all of it. What the last
// layer makes of the rows behind is the memory that the next segment of the document begins with. A document begins
// with learned rows. The model carries, per lane, "memory", (lanes, memory_tokens, hidden); its layers carry nothing.
#pragma once

#include "layers/attention/local_attention.h"
#include "layers/attention/registry.h"

namespace palimpsest {

/// Of a layer: local attention over the rows that RecurrentMemory hands it.
class RecurrentMemoryAttention final : public Attention {
 public:
  RecurrentMemoryAttention(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);

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
  LocalAttention rows_;
  std::int64_t memory_tokens_;
};

/// The rows around a segment, of a model whose segments pass one at a time. Every document in a segment has rows in
/// front of its own: carried ones if it goes on, else the learned ones, the parameter "memory_tokens.weight".
class RecurrentMemory final : public ModelMemory {
 public:
  RecurrentMemory(const ModelConfig& config, ParameterFactory& factory);

  LayerState empty_state(MemoryPool& pool, std::int64_t lanes) const override;
  Framed enter(const ForwardContext& context, const Variable& x, const LayerVariables& state) const override;
  Left leave(const ForwardContext& context, const Variable& x) const override;
  std::int64_t rows_in_front() const override { return count_; }
  Tensor rows_of(MemoryPool& pool, std::span<const std::int64_t> lanes, std::span<const std::int64_t> read,
                 const LayerState& state) const override;
  void finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes, const Tensor& rows,
                      LayerState& state) const override;

 private:
  std::int64_t count_;
  Variable initial_;  // (memory_tokens, hidden)
};

extern const AttentionTraits recurrent_memory_attention_traits;

}  // namespace palimpsest
