#include "optim/optimizer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "optim/adafactor.h"
#include "optim/adamw.h"
#include "optim/parameter_patterns.h"

namespace palimpsest {

namespace {

bool decays(ParameterRole role) { return role == ParameterRole::matrix || role == ParameterRole::embedding; }

/// By what the learning rate of a parameter is multiplied.
double rate_factor(const OptimizerConfig& config, const std::string& name) {
  double factor = 1;
  for (const LearningRateMultiplier& multiplier : config.learning_rate_multipliers) {
    if (means_parameter(multiplier.parameters, name)) factor = multiplier.factor;
  }
  return factor;
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, const ParameterList& parameters, ParameterShares shares)
    : config_(config), shares_(std::move(shares)) {
  for (const Parameter& parameter : parameters) {
    parameter_names_.push_back(parameter.name);
    trained_.push_back(parameter.trained());
    rate_factors_.push_back(rate_factor(config, parameter.name));
  }
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
    const double weight_decay = decays(parameter.role) ? config_.weight_decay : 0.0;
    const double rate = rates.of(parameter.role) * rate_factors_[index];
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
