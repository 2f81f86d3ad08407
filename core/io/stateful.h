// Components whose state a checkpoint keeps: it holds what they say, and needs no list of fields.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "core/io/state_dictionary.h"

namespace palimpsest {

class Stateful {
 public:
  /// The tensors of a component, by names of its own.
  struct Tensors {
    StateDictionary replicated;  // that every rank has alike, whole
    StateDictionary owned;       // that this rank saves: whole tensors or shares, each element from one rank
    StateDictionary read;        // that this rank needs too, but another one saves
  };

  virtual ~Stateful() = default;

  /// The first part of its entries' names, and its key in the manifest.
  virtual std::string name() const = 0;
  /// Saving reads them, restoring writes to them, ahead of `restore`.
  virtual Tensors tensors() { return {}; }
  /// Gives up what `tensors` made for its caller alone, as a copy that joins what lies apart; what it returned stays.
  virtual void release() {}
  /// Whether a checkpoint has to hold exactly these entries, and no others below the component's name.
  virtual bool exact() const { return true; }
  /// What is not tensors; the same on every rank. Collective.
  virtual nlohmann::json state() { return nlohmann::json::object(); }
  /// Goes on from what `state` returned and what its tensors hold by now. Throws nlohmann::json::exception or DataError
  /// on a state that is not one of this component, ConfigError on one that is of another run.
  virtual void restore(const nlohmann::json& state) = 0;
};

}  // namespace palimpsest
