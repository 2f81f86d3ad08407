// The decoder: token embedding, layers of attention and feed-forward, final norm and output head (docs/design.md, "The
// model"): parameters, forward and decoding of one token. What a sequence carries is passed in and handed back, never
// kept. How a batch is trained on stands in layers/training_pass.h, how a text is continued in layers/decode_state.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "autograd/ops/cross_entropy.h"
#include "autograd/parameter.h"
#include "autograd/tape.h"
#include "layers/block.h"
#include "layers/layer_state.h"
#include "layers/model_config.h"

namespace palimpsest {

class LanguageModel {
 public:
  /// All parameters zero. `config` must be resolved. Activations and products are in `compute_type`;
  /// float64 gives float64 parameters. Throws ConfigError on an impossible shape.
  LanguageModel(MemoryPool& parameter_pool, const ModelConfig& config, DataType compute_type);

  /// Matrices and embeddings normal with standard deviation initializer_range, norms 1, gates initial_gate.
  void initialize(std::uint64_t seed);

  const ModelConfig& config() const { return config_; }
  DataType compute_type() const { return compute_type_; }
  ParameterList& parameters() { return parameters_; }
  const ParameterList& parameters() const { return parameters_; }
  const Attention& attention(std::size_t layer) const { return blocks_[layer].attention(); }

  /// What lanes carry before their first token.
  SequenceState empty_state(MemoryPool& pool, std::int64_t lanes) const;

  /// The context of a pass over tokens that lie as `layout` says, when the state has read `tokens_before` tokens of
  /// each lane's document. Callers set what else they want of it.
  ForwardContext context(Tape& tape, LayoutPointer layout, std::vector<std::int64_t> tokens_before) const;

  struct Result {
    Variable hidden;  // (lanes, tokens, hidden_size) after the final norm
    StateVariables state;
    std::vector<LayerVariables> open;  // of every layer, where the context asks for it; see Attention::open_segment
  };
  /// `tokens` (lanes, tokens) of the context's layout. Throws ShapeError on a token outside the vocabulary.
  Result forward(const ForwardContext& context, std::span<const std::int32_t> tokens,
                 const StateVariables& state) const;
  /// The sum over tokens of weight * negative log-likelihood of the targets, a scalar (autograd/ops/cross_entropy.h).
  Variable loss(const ForwardContext& context, const Variable& hidden, LossTargets targets) const;
  /// What `loss` tells the context's listener of the head, for a pass that does without the loss.
  void announce_head(const ForwardContext& context) const;
  /// The negative log-likelihood of every target. No gradients.
  std::vector<double> token_losses(MemoryPool& pool, const Tensor& hidden, std::span<const std::int32_t> targets) const;
  /// Of the output head, (vocab_size, hidden_size), in the compute type.
  const Tensor& head_weight() const { return head_.value(); }
  /// The output head: (rows..., hidden_size) -> (rows..., vocab_size) in the accumulate type.
  Tensor head(MemoryPool& pool, const Tensor& hidden) const;

  /// One token of some lanes, of whose layers `state` is the state and `segments` are the open segments; see
  /// Attention::decode. -> (rows, 1, hidden_size) after the final norm
  Variable decode(const DecodeContext& context, std::span<const std::int32_t> tokens, const SequenceState& state,
                  std::vector<LayerState>& segments) const;
  /// The full segments of these lanes become part of their state; see Attention::finish_segment.
  void finish_segments(const DecodeContext& context, SequenceState& state, std::vector<LayerState>& segments) const;
  /// The positions of RoPE that a pass over `tokens` tokens needs, when at most `before` tokens of their document were
  /// read, and a table of at least as many.
  std::int64_t rotary_positions(std::int64_t before, std::int64_t tokens) const;
  std::shared_ptr<const RotaryTable> rotary(MemoryPool& pool, std::int64_t before, std::int64_t tokens) const;

 private:
  /// Of one segment of every lane, or of all at once where the kind of attention allows it.
  Result forward_at_once(const ForwardContext& context, std::span<const std::int32_t> tokens,
                         const StateVariables& state) const;
  /// Rows of some lanes, (lanes, rows, hidden), through all layers one after the other, from position `first` on of
  /// their segments. -> the same shape
  Tensor decode_rows(const DecodeContext& context, const Tensor& rows, std::int64_t first, const SequenceState& state,
                     std::vector<LayerState>& segments) const;
  Variable decode_layers(const DecodeContext& context, Variable x, const SequenceState& state,
                         std::vector<LayerState>& segments) const;

  ModelConfig config_;
  DataType compute_type_;
  ParameterList parameters_;
  Variable embedding_;
  std::unique_ptr<ModelMemory> memory_;  // null where layers carry what they carry by themselves
  std::size_t first_layer_parameter_;
  std::vector<Block> blocks_;
  Variable norm_;
  std::size_t norm_parameter_;
  Variable head_;
  std::shared_ptr<const RotaryTable> rotary_;  // of a segment
};

}  // namespace palimpsest
