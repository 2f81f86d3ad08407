#include "layers/memory_state.h"

#include <fmt/format.h>

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

}  // namespace

MemoryState empty_memory(MemoryPool& pool, const ModelConfig& config, std::int64_t lanes, DataType type) {
  MemoryState state;
  const std::int64_t heads = config.num_kv_heads, d = config.head_size;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    state.layers.push_back(
        {Tensor::zeros(pool, Shape{lanes, heads, d, d}, type), Tensor::zeros(pool, Shape{lanes, heads, d}, type)});
  }
  state.documents.assign(static_cast<std::size_t>(lanes), no_document);
  return state;
}

MemoryState select_lanes(MemoryPool& pool, const MemoryState& state, std::span<const std::int64_t> lanes) {
  MemoryState result;
  for (const std::int64_t lane : lanes) {
    if (lane < 0 || lane >= state.lanes()) {
      throw ShapeError(fmt::format("select_lanes: lane {} of {}", lane, state.lanes()));
    }
    result.documents.push_back(state.documents[static_cast<std::size_t>(lane)]);
  }
  for (const MemoryState::Layer& layer : state.layers) {
    result.layers.push_back({select(pool, layer.matrix, lanes), select(pool, layer.norm, lanes)});
  }
  return result;
}

}  // namespace palimpsest
