// What continued training asks of an optimizer: frozen parameters, learning rates of some, decay toward the weights
// that the run began with.
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "optim/optimizer.h"
#include "tests/optim/optimizer_checks.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

using Values = std::vector<double>;

class ContinuedOptimizer : public testing::TestWithParam<OptimizerKind> {};

TEST_P(ContinuedOptimizer, LeavesFrozenParametersAloneAndKeepsNothingOfThem) {
  MemoryPool pool;
  ParameterList whole, some;
  for (ParameterList* parameters : {&whole, &some}) {
    add_every_role(*parameters, pool, DataType::float32, DataType::bfloat16);
  }
  const std::vector<std::string> frozen = {"embed_tokens.weight", "layers.0.input_layernorm.weight"};
  for (const std::string& name : frozen) some.find(name).variable.set_requires_gradient(false);
  EXPECT_EQ(some.trained_elements(), 517 * 129 + 5);
  const auto of_whole = make_optimizer(config_of(GetParam()), whole, pool);
  const auto of_some = make_optimizer(config_of(GetParam()), some, pool);
  of_some->visit_state([&](const std::string& name, Tensor&, const Optimizer::StatePlace&) {
    for (const std::string& other : frozen) EXPECT_EQ(name.find(other), std::string::npos) << name;
  });
  std::map<std::string, Values> before;
  for (const Parameter& parameter : some) before[parameter.name] = parameter.master.to_doubles();
  for (std::uint64_t step = 1; step <= 2; ++step) {
    set_random_gradients(whole, pool, step);
    set_random_gradients(some, pool, step);
    of_whole->update(whole, {.model = 0.01, .memory_gate = 0.1});
    std::vector<std::size_t> updated;
    of_some->update(some, {.model = 0.01, .memory_gate = 0.1}, 1.0,
                    [&](std::size_t index) { updated.push_back(index); });
    EXPECT_EQ(updated, (std::vector<std::size_t>{2, 3}));
  }
  for (const Parameter& parameter : some) {
    const Values expected =
        parameter.trained() ? whole.find(parameter.name).master.to_doubles() : before[parameter.name];
    EXPECT_EQ(parameter.master.to_doubles(), expected) << parameter.name;
  }
  some.find(frozen[0]).variable.set_requires_gradient(true);
  EXPECT_THROW(of_some->update(some, {}), ShapeError);
}

TEST_P(ContinuedOptimizer, MultipliesLearningRatesByPattern) {
  MemoryPool pool;
  OptimizerConfig config = config_of(GetParam());
  config.learning_rate_multipliers = {{"layers.*", 9}, {"*_proj.weight", 0.5}, {"memory", 0}};
  ParameterList multiplied;
  add_every_role(multiplied, pool, DataType::float64, DataType::float64);
  const auto optimizer = make_optimizer(config, multiplied, pool);
  const Values gate = multiplied.find("layers.0.self_attn.memory_gate").master.to_doubles();
  set_random_gradients(multiplied, pool, 1);
  optimizer->update(multiplied, {.model = 0.01, .memory_gate = 0.1});
  EXPECT_EQ(multiplied.find("layers.0.self_attn.memory_gate").master.to_doubles(), gate);
  for (const auto& [name, rate] : std::map<std::string, double>{{"embed_tokens.weight", 0.01},
                                                                {"layers.0.input_layernorm.weight", 0.09},
                                                                {"layers.0.self_attn.q_proj.weight", 0.005}}) {
    ParameterList plain;
    add_every_role(plain, pool, DataType::float64, DataType::float64);
    set_random_gradients(plain, pool, 1);
    make_optimizer(config_of(GetParam()), plain, pool)->update(plain, {.model = rate, .memory_gate = 0.1});
    expect_near(plain.find(name).master.to_doubles(), multiplied.find(name).master.to_doubles());
  }
}

// Without gradients nothing but the decays is left of a step.
TEST_P(ContinuedOptimizer, DecaysTowardTheInitialWeights) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float64, DataType::float64);
  add_parameter(parameters, pool, "layers.0.self_attn.q_proj.bias", ParameterRole::bias, {7}, random_values(7, 9));
  OptimizerConfig config = config_of(GetParam());
  config.weight_decay = 0.5;
  config.decay_toward_initial = 2;
  const auto optimizer = make_optimizer(config, parameters, pool);
  std::map<std::string, Values> initial, expected;
  for (Parameter& parameter : parameters) {
    fill(parameter.master, 3.0);  // these are the ones that count
    initial[parameter.name] = parameter.master.to_doubles();
  }
  optimizer->remember_initial(parameters);
  for (Parameter& parameter : parameters) {
    copy(Tensor::from_values(pool, parameter.master.shape(), DataType::float64,
                             random_values(parameter.master.elements(), 5)),
         parameter.master);
    expected[parameter.name] = parameter.master.to_doubles();
  }
  for (int step = 1; step <= 2; ++step) {
    optimizer->update(parameters, {.model = 0.1, .memory_gate = 0.2});
    for (const Parameter& parameter : parameters) {
      const bool gate = parameter.role == ParameterRole::memory_gate;
      Values& p = expected[parameter.name];
      for (std::size_t i = 0; i < p.size(); ++i) {
        if (!gate) p[i] -= 0.1 * 2 * (p[i] - initial[parameter.name][i]);
        if (is_matrix(parameter.role)) p[i] -= 0.1 * 0.5 * p[i];
      }
      expect_near(p, parameter.master.to_doubles());
    }
  }
}

TEST_P(ContinuedOptimizer, KeepsTheInitialWeightsInItsState) {
  MemoryPool pool;
  OptimizerConfig config = config_of(GetParam());
  config.decay_toward_initial = 0.3;
  ParameterList original, restored;
  for (ParameterList* parameters : {&original, &restored}) {
    add_every_role(*parameters, pool, DataType::float32, DataType::bfloat16);
    parameters->find("embed_tokens.weight").variable.set_requires_gradient(false);
  }
  const auto optimizer = make_optimizer(config, original, pool);
  const auto train = [&](Optimizer& of, ParameterList& parameters, std::uint64_t step) {
    set_random_gradients(parameters, pool, step);
    parameters.find("embed_tokens.weight").variable.clear_gradient();
    of.update(parameters, {.model = 0.01, .memory_gate = 0.1});
  };
  train(*optimizer, original, 1);
  std::map<std::string, Tensor> state;
  std::vector<std::string> pulled;
  optimizer->visit_state([&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace&) {
    state[name] = converted(pool, tensor, tensor.data_type());
    if (name.ends_with("/initial")) pulled.push_back(name);
  });
  EXPECT_EQ(pulled, (std::vector<std::string>{"optimizer/layers.0.input_layernorm.weight/initial",
                                              "optimizer/layers.0.self_attn.q_proj.weight/initial"}));
  for (Parameter& parameter : restored) {
    copy(original.find(parameter.name).master, parameter.master);
    parameter.refresh();
  }
  const auto continued = make_optimizer(config, restored, pool);  // whose own initial weights are those of step 1
  continued->visit_state(
      [&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace&) { copy(state.at(name), tensor); });
  continued->set_step(1);
  train(*optimizer, original, 2);
  train(*continued, restored, 2);
  EXPECT_TRUE(bytes_of(original) == bytes_of(restored));
}

INSTANTIATE_TEST_SUITE_P(Kinds, ContinuedOptimizer, testing::Values(OptimizerKind::adamw, OptimizerKind::adafactor),
                         [](const auto& kind) { return kind.param == OptimizerKind::adamw ? "AdamW" : "Adafactor"; });

}  // namespace
}  // namespace palimpsest
