#include "optim/adamw.h"

#include <cmath>

#include "optim/blocks.h"
#include "optim/parameter_access.h"

namespace palimpsest {

namespace {

template <class T>
struct Coefficients {
  T beta1, one_minus_beta1, beta2, one_minus_beta2;
  T step_size;           // rate / (1 - beta1^t)
  T inverse_sqrt_bias2;  // 1 / sqrt(1 - beta2^t)
  T epsilon, keep;       // keep = 1 - rate * weight_decay
};

// One pass over memory: reads p, g, m, v and writes p, m, v (and the working copy), of `count` elements of which the
// first is element `first` of the parameter.
template <class T, class Gradient, class Store>
void adamw_loop(std::int64_t first, std::int64_t count, const T* p, T* m, T* v, const Coefficients<T>& c,
                Gradient gradient, Store store) {
  for_each_block(count, block_of(count), [=](std::int64_t, std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) {
      const T g = gradient(first + i);
      m[i] = c.beta1 * m[i] + c.one_minus_beta1 * g;
      v[i] = c.beta2 * v[i] + c.one_minus_beta2 * (g * g);
      store(first + i,
            c.keep * p[first + i] - c.step_size * m[i] / (std::sqrt(v[i]) * c.inverse_sqrt_bias2 + c.epsilon));
    }
  });
}

}  // namespace

AdamW::AdamW(const OptimizerConfig& config, const ParameterList& parameters, MemoryPool& pool,
             const ParameterShares& shares)
    : Optimizer(config, parameters, pool, shares) {
  for (const Parameter& parameter : parameters) {
    const std::size_t index = states_.size();
    State& state = states_.emplace_back();
    if (!parameter.trained()) continue;
    const auto zeros = [&] { return Tensor::zeros(pool, shape_of(index, parameter), parameter.master.data_type()); };
    state = {zeros(), zeros(), place_of(index, parameter)};
  }
}

void AdamW::visit_moments(const StateVisitor& visit) {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (!states_[i].exp_avg.defined()) continue;
    visit(state_name(i, "exp_avg"), states_[i].exp_avg, states_[i].place);
    visit(state_name(i, "exp_avg_sq"), states_[i].exp_avg_sq, states_[i].place);
  }
}

void AdamW::update_parameter(std::size_t index, Parameter& parameter, const Update& update) {
  const double beta1 = config().beta1, beta2 = config().beta2;
  const auto step = static_cast<double>(update.step);
  dispatch(parameter.master.data_type(), [&]<class T>() {
    const Coefficients<T> c{
        .beta1 = static_cast<T>(beta1),
        .one_minus_beta1 = static_cast<T>(1 - beta1),
        .beta2 = static_cast<T>(beta2),
        .one_minus_beta2 = static_cast<T>(1 - beta2),
        .step_size = static_cast<T>(update.learning_rate / (1 - std::pow(beta1, step))),
        .inverse_sqrt_bias2 = static_cast<T>(1 / std::sqrt(1 - std::pow(beta2, step))),
        .epsilon = static_cast<T>(config().epsilon),
        .keep = static_cast<T>(1 - update.learning_rate * update.weight_decay),
    };
    State& state = states_[index];
    access_parameter<T>(parameter, static_cast<T>(update.gradient_scale), [&](auto gradient, auto store) {
      adamw_loop(state.place.begin, state.exp_avg.elements(), parameter.master.data<T>(), state.exp_avg.data<T>(),
                 state.exp_avg_sq.data<T>(), c, gradient, store);
    });
  });
}

}  // namespace palimpsest
