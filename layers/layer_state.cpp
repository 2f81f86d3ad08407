#include "layers/layer_state.h"

#include <algorithm>

#include "core/error.h"
#include "core/sequence_layout.h"

namespace palimpsest {

namespace {

Tensor select(MemoryPool& pool, const Tensor& source, std::span<const std::int64_t> lanes) {
  std::vector<std::int64_t> extents(source.shape().extents().begin(), source.shape().extents().end());
  extents[0] = static_cast<std::int64_t>(lanes.size());
  Tensor result(pool, Shape(extents), source.data_type());
  for (std::int64_t i = 0; i < extents[0]; ++i) {
    const std::int64_t lane = lanes[static_cast<std::size_t>(i)];
    Tensor target = result.rows(i, i + 1);
    copy(source.rows(lane, lane + 1), target);
  }
  return result;
}

bool has_rows(const Tensor& tensor) { return tensor.shape().rank() == 3; }

}  // namespace

void make_unique(MemoryPool& pool, LayerState& state) {
  for (auto& [name, tensor] : state) {
    if (!tensor.unique()) tensor = converted(pool, tensor, tensor.data_type());
  }
}

Tensor with_rows(MemoryPool& pool, const Tensor& tensor, std::int64_t rows) {
  const std::int64_t lanes = tensor.shape()[0], had = tensor.shape()[1], width = tensor.shape()[2];
  if (rows == had) return tensor;
  if (rows < had) throw ShapeError(fmt::format("with_rows: {} rows of {}", rows, tensor.shape().to_string()));
  Tensor result = Tensor::zeros(pool, Shape{lanes, rows, width}, tensor.data_type());
  for (std::int64_t lane = 0; lane < lanes && had > 0; ++lane) {
    Tensor last = result.rows(lane, lane + 1).reshaped(Shape{rows, width}).rows(rows - had, rows);
    copy(tensor.rows(lane, lane + 1).reshaped(Shape{had, width}), last);
  }
  return result;
}

LayerState select_lanes(MemoryPool& pool, const LayerState& state, std::span<const std::int64_t> lanes) {
  LayerState result;
  for (const StateTensor& entry : state) result.push_back({entry.name, select(pool, entry.tensor, lanes)});
  return result;
}

SequenceState select_lanes(MemoryPool& pool, const SequenceState& state, std::span<const std::int64_t> lanes) {
  SequenceState result;
  for (const std::int64_t lane : lanes) {
    if (lane < 0 || lane >= state.lanes()) {
      throw ShapeError(fmt::format("select_lanes: lane {} of {}", lane, state.lanes()));
    }
    result.documents.push_back(state.documents[static_cast<std::size_t>(lane)]);
    result.tokens.push_back(state.tokens[static_cast<std::size_t>(lane)]);
  }
  for (const LayerState& layer : state.layers) result.layers.push_back(select_lanes(pool, layer, lanes));
  result.model = select_lanes(pool, state.model, lanes);
  return result;
}

void replace_lanes(MemoryPool& pool, LayerState& state, std::span<const std::int64_t> lanes, const LayerState& source) {
  if (state.size() != source.size()) {
    throw ShapeError(fmt::format("replace_lanes: {} tensors for a state of {}", source.size(), state.size()));
  }
  for (std::size_t i = 0; i < state.size(); ++i) {
    auto& [name, target] = state[i];
    if (source[i].name != name) throw ShapeError(fmt::format("replace_lanes: {} for {}", source[i].name, name));
    Tensor from = source[i].tensor;
    if (has_rows(from) && has_rows(target)) {
      const std::int64_t rows = std::max(from.shape()[1], target.shape()[1]);
      from = with_rows(pool, from, rows);
      target = with_rows(pool, target, rows);
    }
    if (!target.unique()) target = converted(pool, target, target.data_type());
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      Tensor rows = target.rows(lanes[lane], lanes[lane] + 1);
      const auto row = static_cast<std::int64_t>(lane);
      copy(from.rows(row, row + 1), rows);
    }
  }
}

void forget(SequenceState& state) {
  std::ranges::fill(state.documents, no_document);
  std::ranges::fill(state.tokens, 0);
}

std::vector<Variable> StateVariables::flat() const {
  std::vector<Variable> all = model;
  for (const LayerVariables& layer : layers) all.insert(all.end(), layer.begin(), layer.end());
  return all;
}

StateVariables StateVariables::like(std::span<const Variable> flat) const {
  StateVariables result;
  const auto take = [&](std::size_t count) {
    const LayerVariables taken(flat.begin(), flat.begin() + static_cast<std::ptrdiff_t>(count));
    flat = flat.subspan(count);
    return taken;
  };
  result.model = take(model.size());
  for (const LayerVariables& layer : layers) result.layers.push_back(take(layer.size()));
  return result;
}

LayerVariables constants_of(const LayerState& state) {
  LayerVariables variables;
  for (const StateTensor& entry : state) variables.emplace_back(entry.tensor);
  return variables;
}

StateVariables constants_of(const SequenceState& state) {
  StateVariables variables;
  for (const LayerState& layer : state.layers) variables.layers.push_back(constants_of(layer));
  variables.model = constants_of(state.model);
  return variables;
}

LayerState detached_copy(MemoryPool& pool, const LayerVariables& variables, const LayerState& names) {
  LayerState state;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    const Tensor& value = variables[i].value();
    state.push_back({names[i].name, converted(pool, value, value.data_type())});
  }
  return state;
}

}  // namespace palimpsest
