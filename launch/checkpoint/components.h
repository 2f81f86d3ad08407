// A checkpoint as the sum of its components (core/io/stateful.h): "NAME/ENTRY" for every tensor of one, and its key in
// the manifest's state for the rest.
#pragma once

#include <memory>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/io/stateful.h"
#include "launch/checkpoint/checkpoint.h"

namespace palimpsest {

using Components = std::vector<std::unique_ptr<Stateful>>;

/// Of all components, with their names in front.
Stateful::Tensors tensors_of(const Components& components);
/// An object with a key a component. Collective.
/// Stateful::release of each.
void release(const Components& components);
nlohmann::json state_of(const Components& components);

/// Collective. Reads what the components need from a checkpoint and hands it to them, in their order. Throws FileError,
/// starting with the checkpoint's path, when something is missing, is of another shape, or damaged, and what
/// Stateful::restore throws about another run; the components are of no use then.
void restore(const Checkpoint& checkpoint, const Components& components, Communicator& communicator);

}  // namespace palimpsest
