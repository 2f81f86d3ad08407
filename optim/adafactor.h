// Adafactor: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost"
// (ICML 2018, arXiv 1804.04235), algorithms 4 and 5 without first moment. With g the scaled gradient
// of an n x m matrix and beta = 1 - t^-decay_rate:
//   R <- beta R + (1 - beta) mean over columns of (g^2 + epsilon1)        (n)
//   C <- beta C + (1 - beta) mean over rows of (g^2 + epsilon1)           (m)
//   U = g / sqrt(R C^T / mean(R));   U <- U / max(1, RMS(U) / clip_threshold)
//   p <- p - rate max(epsilon2, RMS(p)) U - rate weight_decay p
// Parameters that are not matrices keep the whole second moment. Without scale_parameter, and for the
// memory gate always, the factor max(epsilon2, RMS(p)) is left out.
#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace palimpsest {

/// State of trained parameters, in the master's type: exp_avg_sq_row (R) and exp_avg_sq_col (C) for matrices,
/// exp_avg_sq for other parameters.
class Adafactor final : public Optimizer {
 public:
  Adafactor(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool);

 private:
  struct State {
    Tensor exp_avg_sq;  // undefined when factored; all three of a frozen parameter
    Tensor exp_avg_sq_row;
    Tensor exp_avg_sq_col;
    bool factored() const { return exp_avg_sq_row.defined(); }
  };

  void visit_moments(const StateVisitor& visit) override;
  void update_parameter(std::size_t index, Parameter& parameter, const Update& update) override;
  template <class T>
  void update_factored(State& state, Parameter& parameter, const Update& update);
  template <class T>
  void update_full(State& state, Parameter& parameter, const Update& update);
  /// 1 - t^-decay_rate.
  double second_moment_decay(std::int64_t step) const;
  /// What U is multiplied by: the rate, relative to the parameter's RMS where that applies, after
  /// clipping U (sum of squares given) to the threshold.
  template <class T>
  double step_size(const Parameter& parameter, const Update& update, double update_sum_of_squares) const;

  MemoryPool& pool_;  // for the column sums of a step
  std::vector<State> states_;
};

}  // namespace palimpsest
