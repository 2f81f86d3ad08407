// A step of an optimiser whose parameters are shared out over ranks.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/comm/communicator.h"
#include "optim/optimizer.h"

namespace palimpsest {

/// Updates this rank's share of every parameter and hands it to the others. What is on its way is needed only when the
/// next forward pass gets there, so it travels behind the update of later parameters and behind earlier layers.
class ShardedUpdate {
 public:
  /// All must outlive it.
  ShardedUpdate(Optimizer& optimizer, ParameterList& parameters, Communicator& communicator)
      : optimizer_(optimizer), parameters_(parameters), communicator_(communicator), transfers_(parameters.size()) {}

  /// Collective. Optimizer::update of this rank's shares; then the shares of the masters leave, in order. Until
  /// `wait_for` a parameter that is shared out is unspecified. Whole parameters do not travel.
  void update(const LearningRates& rates, double gradient_scale);

  /// Returns when parameters [begin, end) are there, working copies included: at once where nothing travels.
  void wait_for(std::size_t begin, std::size_t end);
  void wait_for_all() { wait_for(0, transfers_.size()); }

 private:
  Optimizer& optimizer_;
  ParameterList& parameters_;
  Communicator& communicator_;
  std::vector<std::optional<Transfer>> transfers_;  // by parameter
};

}  // namespace palimpsest
