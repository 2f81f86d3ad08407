// Tensors that tell which step they belong to, for the tests of interrupted and failing saves.
#pragma once

#include <cstdint>

#include "core/io/state_dictionary.h"

namespace palimpsest {

/// Every element is `step`. `bytes`: of a large tensor besides; 0: none.
inline StateDictionary example_state(MemoryPool& pool, std::int64_t step, std::int64_t bytes = 0) {
  StateDictionary state;
  const auto add = [&](const char* name, Shape shape, DataType type) {
    Tensor tensor(pool, shape, type);
    fill(tensor, static_cast<double>(step));
    state.add(name, std::move(tensor));
  };
  add("parameters/a.weight", Shape{20, 30}, DataType::float32);
  add("optimizer/a.weight/variance", Shape{7}, DataType::float64);
  add("memory/lane-00000/layers.0/matrix", Shape{2, 2}, DataType::float32);
  if (bytes > 0) add("parameters/large", Shape{bytes / 4}, DataType::float32);
  return state;
}

}  // namespace palimpsest
