// The seam between a decoder layer and its attention. A kind of attention is one file here, an entry of the registry
// (layers/attention/registry.h), its tests, and a row in docs/design.md. What it carries from segment to segment
// is a list of named tensors; nobody else looks inside.
#pragma once

#include <cstdint>
#include <span>

#include "layers/forward_context.h"
#include "layers/layer_state.h"

namespace palimpsest {

/// One token of some of the lanes of a decoding (layers/decode_state.h). Spans have an element for each row of x.
struct DecodeContext {
  Tape* tape;
  std::span<const std::int64_t> lanes;      // of the state and of the open segment
  std::span<const std::int64_t> positions;  // of the token in its segment
  std::span<const std::int64_t> read;       // tokens of its document in finished segments; 0: the state has none of it
  const RotaryTable* rotary;                // as many positions as the attention asks for
};

class Attention {
 public:
  virtual ~Attention() = default;

  struct Result {
    Variable output;       // (lanes, tokens, hidden)
    LayerVariables state;  // after the last segment, in the order of empty_state
    LayerVariables open;   // what decoding goes on from when the last segment is unfinished; see open_segment
  };
  /// residual + attention(x). x and residual (lanes, tokens, hidden); `state` as it stood before the first token.
  /// Parameters are used in the order in which they were created.
  virtual Result forward(const ForwardContext& context, const Variable& x, const Variable& residual,
                         const LayerVariables& state) const = 0;

  /// What is carried before any token, of the type in which states are kept.
  virtual LayerState empty_state(MemoryPool& pool, std::int64_t lanes) const = 0;

  // Decoding token by token: a lane's tokens wait in an open segment until it is full.

  /// Room for an open segment of every lane.
  virtual LayerState empty_segment(MemoryPool& pool, std::int64_t lanes) const = 0;
  /// residual + attention of one token in each of some lanes, x (rows, 1, hidden), which `segment` holds up to there
  /// and takes in. Throws ShapeError when a position lies outside the segment.
  virtual Variable decode(const DecodeContext& context, const Variable& x, const Variable& residual,
                          const LayerState& state, LayerState& segment) const = 0;
  /// Takes the first `tokens` tokens of row `row` of a forward pass as the open segment of a lane.
  virtual void open_segment(MemoryPool& pool, const LayerVariables& open, std::int64_t row, std::int64_t tokens,
                            const RotaryTable& rotary, std::int64_t lane, LayerState& segment) const = 0;
  /// The full segments of these lanes become part of the state. `read` as in DecodeContext.
  virtual void finish_segment(MemoryPool& pool, std::span<const std::int64_t> lanes, std::span<const std::int64_t> read,
                              const LayerState& segment, LayerState& state) const = 0;
};

}  // namespace palimpsest
