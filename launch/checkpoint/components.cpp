#include "launch/checkpoint/components.h"

#include <string>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

std::vector<std::string> names_of(const Stateful::Tensors& tensors) {
  std::vector<std::string> names;
  for (const StateDictionary* part : {&tensors.replicated, &tensors.owned, &tensors.read}) {
    for (const StateDictionary::Entry& entry : *part) names.push_back(entry.name);
  }
  return names;
}

}  // namespace

Stateful::Tensors tensors_of(const Components& components) {
  Stateful::Tensors all;
  for (const auto& component : components) {
    const Stateful::Tensors tensors = component->tensors();
    all.replicated.add_all(component->name(), tensors.replicated);
    all.owned.add_all(component->name(), tensors.owned);
    all.read.add_all(component->name(), tensors.read);
  }
  return all;
}

void release(const Components& components) {
  for (const auto& component : components) component->release();
}

nlohmann::json state_of(const Components& components) {
  nlohmann::json state = nlohmann::json::object();
  for (const auto& component : components) state[component->name()] = component->state();
  return state;
}

void restore(const Checkpoint& checkpoint, const Components& components, Communicator& communicator) {
  StateDictionary targets;
  for (const auto& component : components) {
    const Stateful::Tensors tensors = component->tensors();
    if (component->exact()) checkpoint.require_section(component->name(), names_of(tensors));
    for (const StateDictionary* part : {&tensors.replicated, &tensors.owned, &tensors.read}) {
      targets.add_all(component->name(), *part);
    }
  }
  checkpoint.load(targets, communicator);
  for (const auto& component : components) {
    const auto refuse = [&](const std::exception& error) {
      throw FileError(fmt::format("{}: the state '{}' is not as expected: {}", checkpoint.path().string(),
                                  component->name(), error.what()));
    };
    try {
      component->restore(checkpoint.training_state().at(component->name()));
    } catch (const nlohmann::json::exception& error) {
      refuse(error);
    } catch (const DataError& error) {
      refuse(error);
    }
  }
}

}  // namespace palimpsest
