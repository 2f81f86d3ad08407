// The seam for a memory of the whole model: made of what the last layer says of a segment, read by the first layer in
// the next. It adds rows to those of a segment's tokens, before the first layer, and takes them away after the last.
#pragma once

#include <cstdint>
#include <span>

#include "layers/forward_context.h"
#include "layers/layer_state.h"

namespace palimpsest {

class ModelMemory {
 public:
  virtual ~ModelMemory() = default;

  /// What is carried before any token, for SequenceState::model.
  virtual LayerState empty_state(MemoryPool& pool, std::int64_t lanes) const = 0;

  /// One segment of every lane, as it passes through the layers.
  struct Framed {
    Variable x;              // (lanes, rows, hidden)
    ForwardContext context;  // of these rows
  };
  struct Left {
    Variable x;  // (lanes, tokens, hidden)
    LayerVariables state;
  };
  /// x (lanes, tokens, hidden), the embeddings of one segment of each lane; `state` as it stood before.
  virtual Framed enter(const ForwardContext& context, const Variable& x, const LayerVariables& state) const = 0;
  /// x (lanes, rows, hidden): what the last layer has made of the rows. `context` is that of the tokens.
  virtual Left leave(const ForwardContext& context, const Variable& x) const = 0;

  // Decoding token by token: a segment of a lane begins with rows that nothing is predicted from, and ends with others.

  virtual std::int64_t rows_in_front() const = 0;
  /// The rows that go in front of a segment of these lanes, (lanes, rows, hidden), and the same again behind it.
  /// `read`: tokens of a lane's document in finished segments.
  virtual Tensor rows_of(MemoryPool& pool, std::span<const std::int64_t> lanes, std::span<const std::int64_t> read,
                         const LayerState& state) const = 0;
  /// The state of these lanes after a segment, from what the last layer has made of the rows behind it.
  virtual void finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes, const Tensor& rows,
                              LayerState& state) const = 0;
};

}  // namespace palimpsest
