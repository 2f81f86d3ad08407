// What a sequence carries from segment to segment and from step to step, as a value: passed in, returned, copied,
// stored. Named tensors with lanes first; what they mean is known to the attention that made them, and to nobody else.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "autograd/variable.h"
#include "core/tensor.h"

namespace palimpsest {

/// A tensor whose first axis are the lanes.
struct StateTensor {
  std::string name;
  Tensor tensor;
};

/// What one layer carries. The order is fixed by its attention; it may be empty.
using LayerState = std::vector<StateTensor>;
/// The same within a pass: gradients may flow through it.
using LayerVariables = std::vector<Variable>;

/// What a model carries for each of some lanes, and of which document. Copies share their tensors; nothing writes to
/// them in place.
struct SequenceState {
  std::vector<LayerState> layers;
  /// What belongs to no layer.
  LayerState model;
  /// Per lane: the document that the state is of, or no_document.
  std::vector<std::int64_t> documents;
  /// Per lane: tokens of that document read so far.
  std::vector<std::int64_t> tokens;

  std::int64_t lanes() const { return static_cast<std::int64_t>(documents.size()); }

  /// Calls visit(name, tensor) for every tensor, in a fixed order: "layers.3.matrix", and those of the model by their
  /// own name.
  template <class Visit>
  void for_each(const Visit& visit) {
    visit_tensors(*this, visit);
  }
  template <class Visit>
  void for_each(const Visit& visit) const {
    visit_tensors(*this, visit);
  }

 private:
  template <class State, class Visit>
  static void visit_tensors(State& state, const Visit& visit) {
    for (auto& [name, tensor] : state.model) visit(name, tensor);
    for (std::size_t layer = 0; layer < state.layers.size(); ++layer) {
      for (auto& [name, tensor] : state.layers[layer]) visit(fmt::format("layers.{}.{}", layer, name), tensor);
    }
  }
};

/// The state of the given lanes, in that order. Throws ShapeError on a lane that is not there.
SequenceState select_lanes(MemoryPool& pool, const SequenceState& state, std::span<const std::int64_t> lanes);
LayerState select_lanes(MemoryPool& pool, const LayerState& state, std::span<const std::int64_t> lanes);

/// Lane i of `lanes` gets lane i of `source`, whose tensors have the same names and shapes but for the lanes. A tensor
/// (lanes, rows, width) may have another number of rows, too, which count from the last: the shorter one gets rows of
/// zeros in front. Writes to tensors of its own: those that others share are copied first. Throws ShapeError on a
/// mismatch.
void replace_lanes(MemoryPool& pool, LayerState& state, std::span<const std::int64_t> lanes, const LayerState& source);

/// Before they are written to in place: tensors that others share are copied.
void make_unique(MemoryPool& pool, LayerState& state);

/// A tensor (lanes, rows, width) with so many rows, not fewer than it has: zeros in front.
Tensor with_rows(MemoryPool& pool, const Tensor& tensor, std::int64_t rows);

/// The state with every lane's document forgotten: the next tokens start as those of a new document do.
void forget(SequenceState& state);

/// A whole state within a pass.
struct StateVariables {
  std::vector<LayerVariables> layers;
  LayerVariables model;

  /// One after the other, the model's first.
  std::vector<Variable> flat() const;
  /// The reverse: `flat` has the variables of a state shaped like this one.
  StateVariables like(std::span<const Variable> flat) const;
};

/// As constants: no gradient flows into them.
LayerVariables constants_of(const LayerState& state);
StateVariables constants_of(const SequenceState& state);

/// Copies of the values, so that a carried state keeps no step's intermediate states alive. Names are those of `names`.
LayerState detached_copy(MemoryPool& pool, const LayerVariables& variables, const LayerState& names);

}  // namespace palimpsest
