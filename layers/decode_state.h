// Decoding: texts of any length pass through a model, then token by token, in constant memory for an attention that has
// a state of constant size: what each text carries, and the open segment of each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layers/decode_snapshot.h"
#include "layers/language_model.h"

namespace palimpsest {

/// Some texts (lanes) being continued side by side, each at a place of its own; a document each. A value: copies go on
/// apart from each other. The model and the pool must outlive it.
class DecodeState {
 public:
  DecodeState(const LanguageModel& model, MemoryPool& pool, std::int64_t lanes = 1);
  /// Goes on where a snapshot was taken, as if nothing had happened since. Throws DataError, naming the tensor or the
  /// lane, on one that is not of this model.
  DecodeState(const LanguageModel& model, MemoryPool& pool, const DecodeSnapshot& snapshot);
  /// All that is held, sharing the tensors; what is decoded afterwards does not change it.
  DecodeSnapshot snapshot() const;

  /// Passes tokens[i] through the model in lane i, whole segments of all lanes at a time where it can; some lanes may
  /// have none. Returns (lanes, vocab_size): the logits after the last of a lane's tokens, zeros where there were none.
  /// Equal to one pass over the same tokens. Throws ShapeError on no tokens at all, another number of lanes, or a token
  /// outside the vocabulary.
  Tensor advance(std::span<const std::vector<std::int32_t>> tokens);
  /// Of the only lane: logits (vocab_size).
  Tensor advance(std::span<const std::int32_t> tokens);
  Tensor advance(std::int32_t token) { return advance(std::span(&token, 1)); }

  std::int64_t lanes() const { return state_.lanes(); }
  /// Tokens passed through a lane so far.
  std::int64_t tokens(std::int64_t lane = 0) const;
  /// As many lanes that each go on from here. Throws ShapeError where there are more lanes than one.
  DecodeState copies(std::int64_t lanes) const;
  /// Lane i goes on from where lane sources[i] is. Throws ShapeError on another number of them, or a lane that is not
  /// there.
  void rearrange(std::span<const std::int64_t> sources);
  /// The lane's next token begins another text.
  void forget(std::int64_t lane);

 private:
  using Lanes = std::vector<std::int64_t>;
  struct Pending;

  /// `count` tokens of each of these lanes, which are at a segment's start: whole segments, or fewer than one.
  void pass(Pending& pending, const Lanes& lanes, std::int64_t count);
  /// One token of each of these lanes.
  void step(Pending& pending, const Lanes& lanes);
  void finish_segments(const Lanes& lanes);
  std::vector<std::int64_t> of(const Lanes& lanes, const std::vector<std::int64_t>& values) const;

  const LanguageModel* model_;
  MemoryPool* pool_;
  SequenceState state_;                  // of the finished segments
  std::vector<LayerState> segments_;     // the open ones, of every layer
  std::vector<std::int64_t> positions_;  // tokens of a lane's open segment
  std::shared_ptr<const RotaryTable> rotary_;
};

}  // namespace palimpsest
