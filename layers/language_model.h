// The decoder: token embedding, Infini-attention blocks, final norm and output head
// (docs/design.md, "The model"). Memory is passed in and handed back, never kept.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/tape.h"
#include "core/token_batch.h"
#include "layers/block.h"
#include "layers/memory_state.h"
#include "layers/model_config.h"
#include "layers/pass_options.h"

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

  MemoryState empty_memory(MemoryPool& pool, std::int64_t lanes) const;

  /// Forward and backward over every segment of the batch, gradients flowing through the memory from
  /// the last segment to the first: those of loss_scale * sum(loss_weights * nll) are added to the
  /// parameters'. `memory` is replaced by the state after the batch, detached. Returns the unscaled sum.
  /// With options.sequence_ranks loss and gradients are those of this rank's segments, which add up to the
  /// batch's, and the memory is the same on all ranks. Throws ConfigError when segments are to be
  /// recomputed one by one then.
  double accumulate_gradients(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory,
                              const PassOptions& options);

  /// The negative log-likelihood of every target, (lanes, tokens); advances `memory`. No gradients.
  /// Of ranks that share the sequence each gives its tokens' and 0 for the others'.
  std::vector<double> token_losses(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory,
                                   Communicator* sequence_ranks = nullptr) const;

  /// (lanes, tokens, vocab_size), float32 (float64 in tests); advances `memory`. No gradients.
  Tensor logits(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory) const;

  // The parts that decoding and experiments put together themselves.

  struct Result {
    Variable hidden;  // (lanes, tokens, hidden_size) after the final norm
    std::vector<LayerMemory> memory;
  };
  using KeysAndValues = std::vector<std::pair<Variable, Variable>>;
  /// Recomputes cheap values or blocks if asked to. Appends the keys and values of every layer, without position, to
  /// `keys_and_values` if there is one; those of recomputed blocks are undefined.
  Result forward(Tape& tape, std::span<const std::int32_t> tokens, const LayoutPointer& layout,
                 std::span<const LayerMemory> memory, Recompute recompute = Recompute::none,
                 const std::shared_ptr<const ParameterEvents>& listener = nullptr, const SequenceGroup& sequence = {},
                 KeysAndValues* keys_and_values = nullptr) const;
  /// One token; see InfiniAttention::decode. -> (1, 1, hidden_size)
  Variable decode(Tape& tape, std::int32_t token, std::span<const LayerMemory> memory, bool reads,
                  std::span<SegmentCache> caches, std::int64_t position) const;
  /// The output head: (rows..., hidden_size) -> (rows..., vocab_size) in the accumulate type.
  Tensor head(MemoryPool& pool, const Tensor& hidden) const;
  const std::shared_ptr<const RotaryTable>& rotary() const { return rotary_; }

 private:
  SequenceGroup share(const TokenBatch& batch, const MemoryState& memory, Communicator* ranks) const;
  std::vector<Variable> loss_pass(Tape& tape, const TokenBatch& chunk, const LayoutPointer& layout,
                                  std::span<const Variable> memory, Recompute recompute,
                                  const std::shared_ptr<const ParameterEvents>& listener,
                                  const SequenceGroup& sequence) const;

  ModelConfig config_;
  DataType compute_type_;
  ParameterList parameters_;
  Variable embedding_;
  std::vector<Block> blocks_;
  Variable norm_;
  std::size_t norm_parameter_;
  Variable head_;
  std::shared_ptr<const RotaryTable> rotary_;
};

}  // namespace palimpsest
