#include "optim/optimizer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "optim/adafactor.h"
#include "optim/adamw.h"
#include "optim/blocks.h"
#include "optim/parameter_patterns.h"

namespace palimpsest {

namespace {

/// The memory's own parameters have far to go.
bool is_pulled(ParameterRole role) {
  return is_matrix(role) || role == ParameterRole::norm || role == ParameterRole::bias;
}

/// By what the learning rate of a parameter is multiplied.
double rate_factor(const OptimizerConfig& config, const std::string& name) {
  double factor = 1;
  for (const LearningRateMultiplier& multiplier : config.learning_rate_multipliers) {
    if (means_parameter(multiplier.parameters, name)) factor = multiplier.factor;
  }
  return factor;
}

double weight_decay_of(ParameterRole role, const OptimizerConfig& config) {
  if (role == ParameterRole::memory_gate) return config.memory_gate_weight_decay;
  return is_matrix(role) ? config.weight_decay : 0.0;
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool,
                     ParameterShares shares)
    : config_(config), shares_(std::move(shares)) {
  for (const Parameter& parameter : parameters) {
    parameter_names_.push_back(parameter.name);
    trained_.push_back(parameter.trained());
    rate_factors_.push_back(rate_factor(config, parameter.name));
    Initial& initial = initial_.emplace_back();
    if (config.decay_toward_initial == 0 || !parameter.trained() || !is_pulled(parameter.role)) continue;
    const std::size_t index = initial_.size() - 1;
    initial = {Tensor(pool, shape_of(index, parameter), parameter.master.data_type()), place_of(index, parameter)};
  }
  remember_initial(parameters);
}

Optimizer::StatePlace Optimizer::place_of(std::size_t index, const Parameter& parameter) const {
  const Share own = shares_.of(index, static_cast<std::size_t>(parameter.master.elements()));
  return {shares_.cut(index), parameter.master.shape(), static_cast<std::int64_t>(own.begin)};
}

Shape Optimizer::shape_of(std::size_t index, const Parameter& parameter) const {
  const Share own = shares_.of(index, static_cast<std::size_t>(parameter.master.elements()));
  return shares_.cut(index) ? Shape{static_cast<std::int64_t>(own.size())} : parameter.master.shape();
}

void Optimizer::remember_initial(const ParameterList& parameters) {
  for (std::size_t index = 0; index < initial_.size(); ++index) {
    auto& [values, place] = initial_[index];
    if (!values.defined()) continue;
    dispatch(values.data_type(), [&, &values = values, &place = place]<class T>() {
      std::copy_n(parameters.all()[index].master.data<T>() + place.begin, values.elements(), values.data<T>());
    });
  }
}

void Optimizer::visit_state(const StateVisitor& visit) {
  visit_moments(visit);
  for (std::size_t index = 0; index < initial_.size(); ++index) {
    auto& [values, place] = initial_[index];
    if (values.defined()) visit(state_name(index, "initial"), values, place);
  }
}

void Optimizer::pull_toward_initial(std::size_t index, Parameter& parameter, double rate) {
  auto& [values, place] = initial_[index];
  if (!values.defined()) return;
  dispatch(values.data_type(), [&, &values = values, &place = place]<class T>() {
    const auto share = static_cast<T>(rate * config_.decay_toward_initial);
    const T* const initial = values.data<T>();
    T* const master = parameter.master.data<T>() + place.begin;
    for_each_block(values.elements(), block_of(values.elements()),
                   [=](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
                     for (std::int64_t i = begin; i < end; ++i) {
                       master[i] = static_cast<T>(master[i] - share * (master[i] - initial[i]));
                     }
                   });
  });
}

void Optimizer::update(ParameterList& parameters, const LearningRates& rates, double gradient_scale,
                       const Updated& updated) {
  if (!std::ranges::equal(parameters.all(), parameter_names_, {}, &Parameter::name)) {
    throw ShapeError(fmt::format("the optimizer was made for {} parameters and got {} others", parameter_names_.size(),
                                 parameters.size()));
  }
  if (!std::ranges::equal(parameters.all(), trained_, {}, &Parameter::trained)) {
    throw ShapeError("the optimizer was made when other parameters were trained");
  }
  ++step_;
  std::size_t index = 0;
  for (Parameter& parameter : parameters) {
    if (!parameter.trained()) {
      ++index;
      continue;
    }
    const double weight_decay = weight_decay_of(parameter.role, config_);
    const double rate = rates.of(parameter.role) * rate_factors_[index];
    pull_toward_initial(index, parameter, rate);  // the update refreshes the working copy
    update_parameter(index, parameter, {step_, rate, weight_decay, gradient_scale});
    if (updated) updated(index);
    ++index;
  }
}

std::size_t Optimizer::state_bytes() {
  std::size_t bytes = 0;
  visit_state([&](const std::string&, Tensor& state, const StatePlace&) { bytes += state.bytes(); });
  return bytes;
}

std::string Optimizer::state_name(std::size_t index, const char* quantity) const {
  return fmt::format("optimizer/{}/{}", parameter_names_[index], quantity);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, const ParameterList& parameters,
                                          MemoryPool& pool, const ParameterShares& shares) {
  switch (config.kind) {
    case OptimizerKind::adamw: return std::make_unique<AdamW>(config, parameters, pool, shares);
    case OptimizerKind::adafactor:
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (shares.cut(i)) throw ConfigError("optimizer.sharded: true needs optimizer.kind: adamw, not adafactor");
      }
      return std::make_unique<Adafactor>(config, parameters, pool);
  }
  throw ConfigError("unknown optimizer kind");
}

}  // namespace palimpsest
