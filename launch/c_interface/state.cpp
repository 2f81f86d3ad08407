// States as arrays.
#include "launch/c_interface/handles.h"

using namespace palimpsest::c_interface;
using palimpsest::ConfigError;
using palimpsest::StateArray;

static_assert(palimpsest_float32 == static_cast<int>(palimpsest::ArrayType::float32) &&
              palimpsest_bfloat16 == static_cast<int>(palimpsest::ArrayType::bfloat16) &&
              palimpsest_float64 == static_cast<int>(palimpsest::ArrayType::float64) &&
              palimpsest_uint8 == static_cast<int>(palimpsest::ArrayType::uint8) &&
              palimpsest_int32 == static_cast<int>(palimpsest::ArrayType::int32) &&
              palimpsest_int64 == static_cast<int>(palimpsest::ArrayType::int64));

namespace {

template <class Action>
int with_state(PalimpsestState* state, Action&& action) {
  return guarded([&] {
    PalimpsestState& found = required(state, "state");
    const std::scoped_lock lock(found.mutex);
    action(found);
  });
}

}  // namespace

int palimpsest_state_new(PalimpsestState** state) {
  return guarded([&] { required(state, "state") = new PalimpsestState; });
}

void palimpsest_state_close(PalimpsestState* state) { delete state; }

int palimpsest_state_add(PalimpsestState* state, const PalimpsestArray* array) {
  return with_state(state, [&](PalimpsestState& to) {
    const PalimpsestArray& given = required(array, "array");
    if (given.type < palimpsest_float32 || given.type > palimpsest_int64) {
      throw ConfigError(fmt::format("the type of an array is {}: expected a PalimpsestType", given.type));
    }
    const auto shape = elements(given.shape, given.axes, "the shape of an array");
    const auto bytes = elements(static_cast<const std::byte*>(given.data), given.bytes, "the data of an array");
    to.arrays.push_back(std::make_unique<StateArray>(StateArray{&required(given.name, "the name of an array"),
                                                                static_cast<palimpsest::ArrayType>(given.type),
                                                                {shape.begin(), shape.end()},
                                                                {bytes.begin(), bytes.end()}}));
  });
}

int palimpsest_state_size(PalimpsestState* state, size_t* arrays) {
  return with_state(state, [&](PalimpsestState& of) { required(arrays, "arrays") = of.arrays.size(); });
}

int palimpsest_state_array(PalimpsestState* state, size_t index, PalimpsestArray* array) {
  return with_state(state, [&](PalimpsestState& of) {
    if (index >= of.arrays.size()) {
      throw ConfigError(fmt::format("index is {}: the state has {} arrays", index, of.arrays.size()));
    }
    const StateArray& found = *of.arrays[index];
    required(array, "array") = {.name = found.name.c_str(),
                                .type = static_cast<int>(found.type),
                                .axes = found.shape.size(),
                                .shape = found.shape.data(),
                                .data = found.bytes.data(),
                                .bytes = found.bytes.size()};
  });
}
