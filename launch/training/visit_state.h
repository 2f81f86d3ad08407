// The tensors that a sequence carries, by name: the one place outside layers/ that knows them.
#pragma once

#include <cstddef>
#include <string>

#include <fmt/format.h>

#include "layers/memory_state.h"

namespace palimpsest {

/// Calls visit(name, tensor) for every tensor, all of them with the lanes first: "layers.3.matrix".
template <class State, class Visit>
void visit_state(State& state, const Visit& visit) {
  for (std::size_t layer = 0; layer < state.layers.size(); ++layer) {
    visit(fmt::format("layers.{}.matrix", layer), state.layers[layer].matrix);
    visit(fmt::format("layers.{}.norm", layer), state.layers[layer].norm);
  }
}

}  // namespace palimpsest
