// AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), over Adam by
// Kingma and Ba (2015). With g the scaled gradient and t the step from 1:
//   m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
//   p <- p - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon) - rate weight_decay p
#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace palimpsest {

/// State per trained parameter, of the master's shape and type, or one-dimensional where this rank has a share of it:
/// exp_avg (m) and exp_avg_sq (v).
class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool,
        const ParameterShares& shares = {});

 private:
  struct State {
    Tensor exp_avg;  // undefined of a frozen parameter, as the rest is
    Tensor exp_avg_sq;
    StatePlace place;
  };

  void visit_moments(const StateVisitor& visit) override;
  void update_parameter(std::size_t index, Parameter& parameter, const Update& update) override;

  std::vector<State> states_;
};

}  // namespace palimpsest
