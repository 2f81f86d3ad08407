// What every optimiser shares: the step counter, the rules by parameter role, named state for checkpoints, and the
// decay toward the initial weights (L2-SP: Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning
// with Convolutional Networks", ICML 2018, arXiv 1802.01483), decoupled as AdamW's weight decay is and ahead of it:
//   W <- W - rate decay_toward_initial (W - W at step 0)
// The arithmetic of one parameter is the derived class's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "optim/learning_rate.h"
#include "optim/optimizer_config.h"
#include "optim/parameter_shares.h"

namespace palimpsest {

class Optimizer {
 public:
  /// Where a state tensor belongs: of a parameter that is shared out it holds the elements from `begin` on of what
  /// would be a tensor of shape `whole`.
  struct StatePlace {
    bool cut;
    Shape whole;
    std::int64_t begin;
  };
  using StateVisitor = std::function<void(const std::string& name, Tensor& state, const StatePlace& place)>;
  using Updated = std::function<void(std::size_t index)>;

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One step over the parameters the optimiser was made for: masters and bfloat16 working copies
  /// of those that are trained change, gradients stay as they are. Every gradient is multiplied by `gradient_scale` on
  /// the way (clipping); a parameter without gradient counts as having gradient zero. Weight decay acts on matrices and
  /// embeddings, and on memory gates by a rate of their own. The bits of the result do not depend on the number of
  /// threads. Of parameters that are shared out, only this rank's share changes. Calls `updated(index)` after each
  /// trained parameter, in order. Throws ShapeError when the parameters are not those of the constructor, or others of
  /// them are trained.
  void update(ParameterList& parameters, const LearningRates& rates, double gradient_scale = 1.0,
              const Updated& updated = {});

  /// Where decay_toward_initial is set: it is toward the masters as they are now. Until this is called, toward what
  /// they were when the optimiser was made.
  void remember_initial(const ParameterList& parameters);

  /// Visits every state tensor of trained parameters, by a name like
  /// "optimizer/layers.0.self_attn.q_proj.weight/exp_avg"; `initial` is what decay_toward_initial goes toward.
  /// Together with step() they are the whole state: restoring both continues bit for bit.
  void visit_state(const StateVisitor& visit);
  /// Which elements this rank updates.
  const ParameterShares& shares() const { return shares_; }
  /// Of all state tensors of this rank.
  std::size_t state_bytes();

  /// Updates made so far.
  std::int64_t step() const { return step_; }
  void set_step(std::int64_t step) { step_ = step; }

 protected:
  /// What applies to one parameter in one step.
  struct Update {
    std::int64_t step;  // counted from 1
    double learning_rate;
    double weight_decay;  // decoupled: the master shrinks by learning_rate * weight_decay
    double gradient_scale;
  };

  Optimizer(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool,
            ParameterShares shares = {});

  /// The state of the derived class, in parameter order.
  virtual void visit_moments(const StateVisitor& visit) = 0;
  virtual void update_parameter(std::size_t index, Parameter& parameter, const Update& update) = 0;

  const OptimizerConfig& config() const { return config_; }
  /// Where a state of the shape of parameter `index` belongs, and the shape of what this rank has of it.
  StatePlace place_of(std::size_t index, const Parameter& parameter) const;
  Shape shape_of(std::size_t index, const Parameter& parameter) const;
  std::string state_name(std::size_t index, const char* quantity) const;

 private:
  struct Initial {
    Tensor values;  // undefined of parameters that nothing pulls
    StatePlace place;
  };

  /// W <- W - rate decay_toward_initial (W - W at the beginning), of this rank's share.
  void pull_toward_initial(std::size_t index, Parameter& parameter, double rate);

  OptimizerConfig config_;
  ParameterShares shares_;
  std::vector<std::string> parameter_names_;
  std::vector<bool> trained_;         // by parameter
  std::vector<double> rate_factors_;  // by parameter
  std::vector<Initial> initial_;      // by parameter
  std::int64_t step_ = 0;
};

/// The optimiser that `config.kind` names, its state zero and allocated from `pool`; of parameters that are shared out
/// it has the state of this rank's elements. Throws ConfigError where it cannot (Adafactor).
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, const ParameterList& parameters,
                                          MemoryPool& pool, const ParameterShares& shares = {});

}  // namespace palimpsest
